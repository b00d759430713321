import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { arch } from 'node:os';
import { describe, test } from 'node:test';
import { saturationProbeTask } from '../../src/runtime/saturation-probe.js';
import { describeCpu, instructionSets, multipliesExactly, runtimeVersion } from '../../src/runtime/machine.js';

describe('machine', () => {
  test('the runtime is named with the version that is installed', () => {
    const { version } = createRequire(import.meta.url)('onnxruntime-node/package.json') as { version: string };
    assert.equal(runtimeVersion(), `onnxruntime-node ${version}`);
  });

  test('instruction sets are of those that matter, each once', () => {
    const found = instructionSets();
    assert.equal(new Set(found).size, found.length);
    for (const name of found) assert.match(name, /^(avx|amx|asimd|i8mm)/);
  });

  test('the description ends with the instruction sets', () => assert.ok(describeCpu().endsWith(instructionSets().join(', '))));

  test('products are known to be exact where there is VNNI, AMX or ARM64', () => {
    const sets = instructionSets();
    if (arch() === 'arm64') assert.equal(multipliesExactly(), true);
    else if (sets.length === 0) assert.equal(multipliesExactly(), undefined);
    else if (arch() === 'x64') assert.equal(multipliesExactly(), sets.some((name) => name.includes('vnni') || name === 'amx_int8'));
  });

  test('a machine that is known to be exact is, and one that is not never adds up to more', async () => {
    const probe = await saturationProbeTask.run(undefined, { progress: () => undefined, warn: () => undefined, endsEarly: () => false });
    assert.equal(probe.expected, 64 * 255 * 127);
    assert.equal(probe.exact, probe.received === probe.expected);
    assert.ok(probe.received <= probe.expected);
    if (multipliesExactly()) assert.ok(probe.exact);
  });
});
