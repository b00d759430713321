import assert from 'node:assert/strict';
import { test } from 'node:test';
import { facts, heading, paragraph, span, type Block, type ReportDocument } from '../../src/report/document.js';
import { renderTerminal } from '../../src/report/terminal.js';

const table: Block = {
  kind: 'table',
  columns: [{ title: 'name' }, { title: 'count', align: 'right' }, { title: 'why' }],
  rows: [
    ['first', '1', ''],
    ['é', '1,000', span('because of this', 'warning')],
  ],
};

function render(blocks: readonly Block[], options: { readonly color?: boolean; readonly width?: number } = {}): string[] {
  const report: ReportDocument = { title: 'Title', blocks };
  return renderTerminal(report, { color: false, ...options }).split('\n');
}

test('renderTerminal: sections, aligned facts and columns', () => {
  assert.deepEqual(render([facts([['size', '1 kB'], null, ['longer label', span('x', 'good')]]), heading('Part'), paragraph('Text.'), table]), [
    'Title',
    '  size          1 kB',
    '  longer label  x',
    '',
    'Part',
    '  Text.',
    '  name   count  why',
    '  first      1',
    '  é      1,000  because of this',
    '',
  ]);
});

test('renderTerminal: a line between facts and the table under them', () => {
  assert.deepEqual(render([facts([['size', '1 kB']]), table]).slice(0, 4), ['Title', '  size  1 kB', '', '  name   count  why']);
});

test('renderTerminal: long tables and lists end with how many more there are', () => {
  const rows = Array.from({ length: 53 }, (_, i) => [`row ${i}`]);
  const cut = render([{ kind: 'table', columns: [{ title: 'x' }], rows }]);
  assert.equal(cut.length, 1 + 1 + 20 + 1 + 1);
  assert.equal(cut.at(-2), '  … 33 more; all in --json / --report FILE.md');
  assert.equal(render([{ kind: 'table', whole: true, columns: [{ title: 'x' }], rows }]).length, 1 + 1 + 53 + 1);
  assert.equal(render([{ kind: 'list', items: rows.flat() }]).at(-2), '  … 33 more; all in --json / --report FILE.md');
});

test('renderTerminal: the last column is wrapped to the width of the terminal', () => {
  const long: Block = { kind: 'table', columns: [{ title: 'name' }, { title: 'why' }], rows: [['node', 'one two three four five six']] };
  assert.deepEqual(render([long], { width: 29 }), ['Title', '  name  why', '  node  one two three four', '        five six', '']);
  assert.deepEqual(render([long], { width: 20 }), ['Title', '  name  why', '  node  one two three four five six', '']);
});

test('renderTerminal: bars', () => {
  assert.deepEqual(render([{ kind: 'table', columns: [{ title: 'share' }], rows: [[{ share: 0.25 }]] }]), ['Title', '  share', '  ███░░░░░░░ 25.0 %', '']);
});

test('renderTerminal: color only where asked for', () => {
  assert.deepEqual(render([paragraph(span('bad', 'bad'))], { color: true }), ['\u001b[1mTitle\u001b[22m', '  \u001b[31mbad\u001b[39m', '']);
  assert.deepEqual(render([paragraph(span('bad', 'bad'))]), ['Title', '  bad', '']);
});

test('renderTerminal: control characters of names are shown, not sent', () => {
  assert.deepEqual(render([paragraph('a\u001b[2Jb')]), ['Title', '  a\\x1b[2Jb', '']);
});
