import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import wabt from 'wabt';
import { KERNEL_BASE64 } from '../../src/calibration/histogram-kernel.js';

const SOURCE = fileURLToPath(new URL('../../../src/calibration/histogram-kernel.wat', import.meta.url));

test('the binary kernel is that of its text', async () => {
  const module = (await wabt()).parseWat('histogram-kernel.wat', await readFile(SOURCE, 'utf8'), { simd: true });
  module.validate();
  const base64 = Buffer.from(module.toBinary({}).buffer).toString('base64');
  assert.equal(KERNEL_BASE64, base64, `histogram-kernel.wat was changed: set KERNEL_BASE64 to\n${base64.replace(/.{118}/g, '$&\n')}`);
});
