import assert from 'node:assert/strict';
import { test } from 'node:test';
import { facts, heading, paragraph, span } from '../../src/report/document.js';
import { renderMarkdown } from '../../src/report/markdown.js';

test('renderMarkdown: every kind of block', () => {
  const text = renderMarkdown({
    title: 'model_a.onnx',
    blocks: [
      facts([['size', '1 kB'], ['speed', span('fast', 'good')]]),
      heading('Part'),
      paragraph(span('Text.', 'strong')),
      { kind: 'list', items: ['one', span('two', 'bad')] },
      { kind: 'table', columns: [{ title: 'name' }, { title: 'count', align: 'right' }], rows: [['a|b', '1'], [{ share: 0.25 }]] },
    ],
  });
  assert.equal(
    text,
    `# model_a.onnx

- **size**: 1 kB
- **speed**: fast

## Part

**Text.**

- one
- two

| name | count |
| --- | ---: |
| a\\|b | 1 |
| 25.0 % |  |
`,
  );
});

test('renderMarkdown: all rows of long tables', () => {
  const rows = Array.from({ length: 53 }, (_, i) => [`row ${i}`]);
  assert.match(renderMarkdown({ title: 't', blocks: [{ kind: 'table', columns: [{ title: 'x' }], rows }] }), /\| row 52 \|\n$/);
});

test('renderMarkdown: names are not read as markup', () => {
  const text = renderMarkdown({ title: 't', blocks: [paragraph('__a_b__ *x* `y` <b> [1](u) [2, 3] ~z~ \\ &lt; a\nb')] });
  assert.equal(text, '# t\n\n\\_\\_a_b\\_\\_ \\*x\\* \\`y\\` &lt;b> [1\\](u) [2, 3] \\~z\\~ \\\\ &amp;lt; a\\\\x0ab\n');
});
