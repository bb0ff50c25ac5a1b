//! Runs one hot function a number of times, for callgrind: `hot NAME COUNT`; without arguments, names them all.

use sidestep_bench::hot::all;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (name, count) = (arguments.next(), arguments.next());
    let count: usize = count.and_then(|count| count.parse().ok()).unwrap_or(1);
    for hot in all() {
        match &name {
            None => println!("{}", hot.name),
            Some(name) if name == hot.name => (0..count).for_each(|_| (hot.run)()),
            Some(_) => {}
        }
    }
}
