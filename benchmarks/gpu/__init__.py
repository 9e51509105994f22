"""A werewolf batch on real SGLang: runner against a first script. `python -m benchmarks.gpu`."""
