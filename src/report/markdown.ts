import { plainText, type Block, type Cell, type Column, type ReportDocument, type Text } from './document.js';
import { percent, printable } from './format.js';

/** A report as GitHub-flavored Markdown, with all rows; ends with a line break. */
export function renderMarkdown(report: ReportDocument): string {
  return `${[`# ${escape(report.title)}`, ...report.blocks.map(renderBlock)].join('\n\n')}\n`;
}

function renderBlock(block: Block): string {
  switch (block.kind) {
    case 'heading':
      return `## ${escape(block.text)}`;
    case 'paragraph':
      return inline(block.text);
    case 'facts':
      return block.facts.map(([label, text]) => `- **${escape(label)}**: ${inline(text)}`).join('\n');
    case 'list':
      return block.items.map((item) => `- ${inline(item)}`).join('\n');
    case 'table':
      return renderTable(block.columns, block.rows);
  }
}

function renderTable(columns: readonly Column[], rows: readonly (readonly Cell[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [
    line(columns.map(({ title }) => escape(title))),
    line(columns.map(({ align }) => (align === 'right' ? '---:' : '---'))),
    ...rows.map((row) => line(columns.map((_, i) => cellText(row[i] ?? '')))),
  ].join('\n');
}

function cellText(cell: Cell): string {
  return typeof cell !== 'string' && 'share' in cell ? percent(cell.share) : inline(cell);
}

function inline(text: Text): string {
  const escaped = escape(plainText(text));
  return typeof text !== 'string' && text.tone === 'strong' ? `**${escaped}**` : escaped;
}

/** Only what would be read as markup: underscores inside of words and brackets without a link stay as they are. */
function escape(text: string): string {
  return printable(text)
    .replace(/[\\`*|~]|\](?=[([])/g, '\\$&')
    .replace(/&(?=[a-z#])/gi, '&amp;')
    .replaceAll('<', '&lt;')
    .replace(/(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])/g, '\\_');
}
