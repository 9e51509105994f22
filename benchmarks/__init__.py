"""Programs that measure runner; what each measures stands in `benchmarks/README.md`."""
