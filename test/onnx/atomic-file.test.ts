import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, readdirSync, lstatSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { QdqError } from '../../src/errors.js';
import { AtomicFile, removeTemporaryFiles, writeFileAtomic } from '../../src/onnx/atomic-file.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';

const atomicFileModule = new URL('../../src/onnx/atomic-file.js', import.meta.url).href;

function unwritable(message: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof QdqError, String(error));
    assert.equal(error.code, 'file-unwritable');
    assert.match(error.message, message);
    assert.ok(error.hint);
    return true;
  };
}

test('a file appears only when it is complete', async (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, 'out.bin');
  writeFileSync(path, 'before');
  const file = await AtomicFile.create(path);
  await file.write(Buffer.from('af'));
  await file.write(Buffer.from('ter'));
  assert.equal(readFileSync(path, 'utf8'), 'before');
  const [temporary] = readdirSync(folder).filter((name) => name !== 'out.bin');
  assert.match(temporary!, new RegExp(`^\\.qdq-[0-9a-f]{8}-${process.pid}-[0-9a-f]+\\.tmp$`));
  await file.commit();
  await file.abort();
  assert.equal(readFileSync(path, 'utf8'), 'after');
  assert.deepEqual(readdirSync(folder), ['out.bin']);
});

test('an aborted file leaves what was there', async (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, 'out.bin');
  writeFileSync(path, 'before');
  const file = await AtomicFile.create(path);
  await file.write(Buffer.from('half'));
  await file.abort();
  assert.equal(readFileSync(path, 'utf8'), 'before');
  assert.deepEqual(readdirSync(folder), ['out.bin']);
});

test('removeTemporaryFiles removes what is being written, and nothing else', async (t) => {
  const folder = temporaryFolder(t);
  await writeFileAtomic(join(folder, 'done.txt'), 'größe');
  const files = [await AtomicFile.create(join(folder, 'a')), await AtomicFile.create(join(folder, 'b'))];
  for (const file of files) await file.write(Buffer.from('half'));
  removeTemporaryFiles();
  assert.deepEqual(readdirSync(folder), ['done.txt']);
  assert.equal(readFileSync(join(folder, 'done.txt'), 'utf8'), 'größe');
  for (const file of files) await assert.rejects(file.commit(), unwritable(/Cannot write/));
  assert.deepEqual(readdirSync(folder), ['done.txt']);
});

test('places that cannot be written', async (t) => {
  const folder = temporaryFolder(t);
  await assert.rejects(
    writeFileAtomic(join(folder, 'no', 'out.bin'), new Uint8Array(12)),
    unwritable(/Cannot write .*no\/out\.bin \(12 bytes are needed\): the folder .*no does not exist/),
  );
  mkdirSync(join(folder, 'taken'));
  await assert.rejects(writeFileAtomic(join(folder, 'taken'), 'x'), unwritable(/taken: it is a folder/));
  await assert.rejects(writeFileAtomic('/dev/null', 'x'), unwritable(/\/dev\/null: it is not a regular file/));
  assert.ok(statSync('/dev/null').isCharacterDevice());
  if (process.getuid?.() !== 0) {
    chmodSync(folder, 0o500);
    await assert.rejects(writeFileAtomic(join(folder, 'out'), 'x'), unwritable(/\(1 bytes are needed\): no permission to write in/));
    chmodSync(folder, 0o700);
  }
  assert.deepEqual(readdirSync(folder), ['taken']);
});

test('a link stays a link', async (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, 'real'));
  writeFileSync(join(folder, 'real', 'file'), 'before');
  symlinkSync('real/file', join(folder, 'link'));
  await writeFileAtomic(join(folder, 'link'), 'after');
  assert.ok(lstatSync(join(folder, 'link')).isSymbolicLink());
  assert.equal(readFileSync(join(folder, 'real', 'file'), 'utf8'), 'after');
  assert.deepEqual(readdirSync(join(folder, 'real')), ['file']);
});

test('a write that the system stops half way leaves nothing', { skip: process.platform !== 'linux' && 'needs ulimit' }, (t) => {
  const folder = temporaryFolder(t);
  const script = `
    process.on('SIGXFSZ', () => undefined);
    const { writeFileAtomic } = await import(${JSON.stringify(atomicFileModule)});
    await writeFileAtomic('out.bin', new Uint8Array(100_000)).catch((error) => console.log(error.code, error.message));`;
  const { stdout, stderr } = spawnSync('sh', ['-c', `ulimit -f 16; exec "$0" --input-type=module -e "$1"`, process.execPath, script], {
    cwd: folder,
    encoding: 'utf8',
  });
  assert.match(stdout, /^file-unwritable Cannot write out\.bin.*\(100000 bytes are needed\)/, stderr);
  assert.deepEqual(readdirSync(folder), []);
});
