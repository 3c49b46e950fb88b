//! Helpers of the streams' tests.

use super::stream::{Batch, Labels, Stream};

/// The bits of a batch: inputs, then targets.
pub(crate) fn bits(batch: &Batch) -> (Vec<u32>, Vec<u32>) {
    let f32s = |tensor: &candle_core::Tensor| -> Vec<u32> {
        let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        values.iter().map(|x| x.to_bits()).collect()
    };
    let labels = match &batch.labels {
        Labels::Classes(labels) => labels.flatten_all().unwrap().to_vec1::<u32>().unwrap(),
        Labels::Values(values) => f32s(values),
    };
    (f32s(&batch.inputs), labels)
}

/// Checks the promises of [`Stream`] on positions `0 .. size`: the same bits however the positions
/// are cut, in whatever order they are asked for, and with one thread or three; shapes that agree
/// with what the stream says of itself; a test set that stays the same.
pub(crate) fn check_promises(stream: &dyn Stream, size: usize) {
    let threads = |n: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build();
        pool.unwrap().install(|| stream.batch(0, size)).unwrap()
    };
    let whole = stream.batch(0, size).unwrap();
    assert_eq!(&whole.inputs.dims()[1..], stream.input_shape());
    assert_eq!(whole.inputs.dims()[0], size);
    let all = bits(&whole);
    assert_eq!(bits(&threads(1)), all);
    assert_eq!(bits(&threads(3)), all);

    let (nx, ny) = (all.0.len() / size, all.1.len() / size);
    let mut starts: Vec<usize> = (0..size).step_by(7).collect();
    starts.reverse();
    for start in starts {
        let end = size.min(start + 7);
        let (x, y) = bits(&stream.batch(start as u64, end - start).unwrap());
        assert_eq!(x, all.0[start * nx..end * nx], "inputs at {start}");
        assert_eq!(y, all.1[start * ny..end * ny], "targets at {start}");
    }
    let test = stream.test_set().unwrap();
    assert_eq!(&test.inputs.dims()[1..], stream.input_shape());
    assert_eq!(bits(&test), bits(&stream.test_set().unwrap()));
    assert!(stream.settings().is_object());
}
