//! Load generator with stub and real drivers; side-by-side benchmarks
