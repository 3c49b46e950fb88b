//! Nearest names for messages.

/// The candidate nearest to `name`, if it is near enough to be meant: at most a third of the
/// letters differ (one for short names, none for a single letter), or they differ in case only.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    // another letter is another name
    let limit = match name.chars().count() {
        1 => 0,
        letters => (letters / 3).max(1),
    };
    candidates
        .into_iter()
        .filter(|c| *c != name)
        .map(|c| (strsim::osa_distance(&lower, &c.to_lowercase()), c))
        .filter(|(distance, _)| *distance <= limit)
        .min_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.cmp(b.1)))
        .map(|(_, c)| c)
}

/// "did you mean `width`?" when some candidate is near.
pub fn did_you_mean<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    nearest(name, candidates).map(|c| format!("did you mean `{c}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_transposed_and_miscased_names() {
        assert_eq!(nearest("widht", ["depth", "width"]), Some("width"));
        assert_eq!(nearest("Width", ["depth", "width"]), Some("width"));
        assert_eq!(nearest("momentun", ["momentum", "lr"]), Some("momentum"));
    }

    #[test]
    fn stays_silent_when_nothing_is_near() {
        assert_eq!(nearest("rnak", ["atan", "sin"]), None);
        assert_eq!(nearest("x", ["lr", "y"]), None);
        assert_eq!(nearest("x", ["X"]), Some("X"));
    }
}
