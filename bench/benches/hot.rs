//! How long the hot functions take. `cargo bench`

use divan::Bencher;
use sidestep_bench::hot::all;

fn main() {
    divan::main();
}

#[divan::bench(args = all().iter().map(|hot| hot.name).collect::<Vec<_>>())]
fn hot(bencher: Bencher<'_, '_>, name: &str) {
    if let Some(hot) = all().iter().find(|hot| hot.name == name) {
        bencher.bench_local(|| (hot.run)());
    }
}
