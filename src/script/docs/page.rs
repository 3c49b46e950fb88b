//! The reference as text and as JSON.

use super::FunctionDoc;

impl FunctionDoc {
    /// The reference of this name as text.
    pub fn page(&self) -> String {
        let mut page = self.signatures.join("\n");
        if !self.body.is_empty() {
            page += "\n\n";
            page += &indent(&self.body);
        }
        if let Some(options) = self.options {
            page += "\n\n    Settings:";
            for field in &options.fields {
                let default = match &field.default {
                    Some(default) => format!(" = {default}"),
                    None => ", must be given".to_string(),
                };
                page += &format!("\n      {}: {}{default}\n", field.key, field.kind);
                page += &indent(&indent(&field.doc));
            }
        }
        for example in &self.examples {
            page += "\n\n    Example:\n";
            page += &indent(&indent(example));
        }
        page
    }

    /// The reference of this name for programs.
    pub fn json(&self) -> serde_json::Value {
        let fields = self.options.map(|o| {
            let fields = o.fields.iter().map(|f| {
                serde_json::json!({
                    "key": f.key, "type": f.kind, "default": f.default, "doc": f.doc,
                    "choices": f.choices,
                })
            });
            fields.collect::<Vec<_>>()
        });
        serde_json::json!({
            "name": self.path(),
            "module": self.module,
            "receivers": self.receivers,
            "signatures": self.signatures,
            "summary": self.summary,
            "body": self.body,
            "examples": self.examples,
            "settings": fields,
            "returns": self.returns,
        })
    }
}

fn indent(text: &str) -> String {
    let lines = text.lines().map(|l| match l {
        "" => String::new(),
        l => format!("    {l}"),
    });
    lines.collect::<Vec<_>>().join("\n")
}
