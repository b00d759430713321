# Every target does all set-up that it needs. What is made goes to dist/.

MODEL := samples/glyphs/model.onnx
CALIBRATION := samples/glyphs/calibration
TEST := samples/glyphs/test
DEMO := dist/demo
QDQ := node bin/qdq.js

# For node --test, as in: make test TEST_FLAGS=--test-name-pattern=Gemm
TEST_FLAGS := --test-reporter=spec

.PHONY: demo test build lint check clean setup fuzz soak

# Ranges from one half of the samples, figures from the other; the test set has seen neither. The target is right on every x64.
demo: build
	@mkdir -p $(DEMO)
	$(QDQ) calibrate $(MODEL) --data $(CALIBRATION) --split even -o $(DEMO)/glyphs.ranges.json
	$(QDQ) quantize $(MODEL) --calibration $(DEMO)/glyphs.ranges.json --data $(CALIBRATION) --target ort-x64 -o $(DEMO)/glyphs.int8.onnx
	$(QDQ) run $(DEMO)/glyphs.int8.onnx --data $(TEST) --outputs $(DEMO)/outputs.npz
	$(QDQ) compare $(MODEL) $(DEMO)/glyphs.int8.onnx --data $(TEST)

# Tests call make themselves, and must not look like a part of this one.
test: setup
	@env -u MAKEFLAGS -u MAKELEVEL npm test --silent -- $(TEST_FLAGS)

# Ten times the damaged files and the kills that `test` has.
fuzz: build
	@env -u MAKEFLAGS -u MAKELEVEL QDQ_FUZZ=20000 node --test --test-reporter=spec dist/test/fuzz/fuzz.test.js

soak: build
	@env -u MAKEFLAGS -u MAKELEVEL QDQ_KILLS=200 node --test --test-reporter=spec dist/test/cli/kill.test.js

build: setup
	@npm run build --silent

lint: setup
	@npm run lint --silent

check: setup
	@npm run check --silent

clean:
	rm -rf dist

setup: node_modules/.package-lock.json

# npm writes this file last. Only a newer lock file makes it install again.
node_modules/.package-lock.json: package-lock.json
	npm ci
	@touch $@
