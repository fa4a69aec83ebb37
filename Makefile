# `make demo` and `make test` work in a fresh clone: they install what is missing, build, and run.
.PHONY: setup build test demo format check-format clean

setup:
	@scripts/setup.sh

build: setup
	@cmake --build build --parallel $$(nproc)

test: setup
	@scripts/test.sh

demo: setup
	.venv/bin/runflat whatif llama3-405b-h100 --out out/demo

format: setup
	@scripts/format.sh

check-format: setup
	@scripts/format.sh --check

clean:
	rm -rf build .venv out python/runflat/_core*.so python/runflat/bin python/runflat.egg-info
