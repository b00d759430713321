import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import { facts, type Block, type Column, type Fact } from '../../src/report/document.js';
import { bytes } from '../../src/report/format.js';
import { renderMarkdown } from '../../src/report/markdown.js';
import { describeCpu, multipliesExactly, runtimeVersion } from '../../src/runtime/machine.js';
import { repositoryRoot } from './paths.js';
import type { Peer } from './peer.js';

/** Writes bench/results/NAME.md. */
export function writeResults(name: string, title: string, blocks: readonly Block[]): void {
  const folder = join(repositoryRoot(), 'bench', 'results');
  mkdirSync(folder, { recursive: true });
  const path = join(folder, `${name}.md`);
  // Messages of the runtime name files of the temporary folder.
  writeFileSync(path, renderMarkdown({ title, blocks }).replace(/\S*\/qdq-bench-\w+\//g, ''));
  console.error(`wrote ${path}`);
}

/** What the figures of a file depend on: machine, versions, and the facts given. */
export function contextFacts(peer: Peer | undefined | 'not needed', more: readonly Fact[]): Block {
  const exact = multipliesExactly();
  const products = exact === undefined ? 'unknown' : exact ? 'exactly' : 'with saturation (no VNNI), so that full-range u8 × s8 weights lose accuracy here';
  return facts([
    ['Processor', `${describeCpu()}; ${cpus().length} cores, ${bytes(totalmem())} of memory; adds u8 × s8 products ${products}`],
    ['qdq', `Node.js ${process.version}, ${runtimeVersion()}`],
    peer === 'not needed' ? null : ['Reference', peer ? peer.versions : 'absent on this machine: only the rows of qdq are here'],
    ...more,
  ]);
}

/** Columns by title; those that start with ">" stand to the right. */
export function columns(...titles: readonly string[]): Column[] {
  return titles.map((title) => (title.startsWith('>') ? { title: title.slice(1), align: 'right' } : { title }));
}
