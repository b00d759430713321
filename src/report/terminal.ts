import { Chalk, type ChalkInstance } from 'chalk';
import { plainText, type Block, type Cell, type Column, type Fact, type LongBlock, type ReportDocument, type Text, type Tone } from './document.js';
import { groupThousands, percent, printable } from './format.js';

/** How a terminal shows a report. */
export interface TerminalOptions {
  readonly color: boolean;
  /** Columns of the terminal; the last column of tables is wrapped to fit. Unlimited where absent. */
  readonly width?: number | undefined;
}

/** Rows of a table that a terminal shows. */
const MAX_ROWS = 20;
const GAP = '  ';
const INDENT = '  ';
const BAR_WIDTH = 10;

/** The least width for which wrapping the last column helps. */
const MIN_WRAP_WIDTH = 20;

/** A report for people at a terminal; ends with a line break. */
export function renderTerminal(report: ReportDocument, options: TerminalOptions): string {
  const style = new Chalk({ level: options.color ? 1 : 0 });
  const lines = [style.bold(printable(report.title))];
  for (const [i, block] of report.blocks.entries()) {
    if (block.kind === 'heading' || needsSpace(report.blocks[i - 1], block)) lines.push('');
    lines.push(...renderBlock(block, style, options.width ?? Infinity));
  }
  return `${lines.map((line) => line.trimEnd()).join('\n')}\n`;
}

/** A table's columns and the labels above it would run into each other. */
function needsSpace(before: Block | undefined, block: Block): boolean {
  return before?.kind === 'facts' && block.kind === 'table';
}

function renderBlock(block: Block, style: ChalkInstance, width: number): string[] {
  switch (block.kind) {
    case 'heading':
      return [style.bold(printable(block.text))];
    case 'paragraph':
      return [INDENT + paint(block.text, style)];
    case 'facts':
      return renderFacts(block.facts, style);
    default:
      return renderLong(block, style, width);
  }
}

function renderFacts(list: readonly Fact[], style: ChalkInstance): string[] {
  const width = Math.max(...list.map(([label]) => label.length), 0);
  return list.map(([label, text]) => INDENT + style.dim(label.padEnd(width)) + GAP + paint(text, style));
}

function renderLong(block: LongBlock, style: ChalkInstance, width: number): string[] {
  const all = block.kind === 'list' ? block.items.length : block.rows.length;
  const shown = block.whole || all <= MAX_ROWS ? all : MAX_ROWS;
  const lines =
    block.kind === 'list'
      ? block.items.slice(0, shown).map((item) => `${INDENT}- ${paint(item, style)}`)
      : renderTable(block.columns, block.rows.slice(0, shown), style, width);
  if (shown < all) lines.push(INDENT + style.dim(`… ${groupThousands(all - shown)} more; all in --json / --report FILE.md`));
  return lines;
}

function renderTable(columns: readonly Column[], rows: readonly (readonly Cell[])[], style: ChalkInstance, width: number): string[] {
  const header = columns.map(({ title }): Cell => ({ text: title, tone: 'dim' }));
  const lines = [header, ...rows];
  const widths = columns.map((_, i) => Math.max(...lines.map((row) => lengthOf(row[i] ?? ''))));
  const last = columns.length - 1;
  const before = INDENT.length + widths.slice(0, last).reduce((sum, each) => sum + each + GAP.length, 0);
  return lines.flatMap((row) => {
    const start = columns.slice(0, last).map((column, i) => pad(row[i] ?? '', widths[i]!, column, style) + GAP);
    const end = row[last] ?? '';
    const pieces = columns[last]?.align === 'right' ? [pad(end, widths[last]!, columns[last], style)] : wrapCell(end, width - before, style);
    return pieces.map((piece, i) => (i === 0 ? INDENT + start.join('') : ' '.repeat(before)) + piece);
  });
}

function wrapCell(cell: Cell, width: number, style: ChalkInstance): string[] {
  if (isBar(cell) || width < MIN_WRAP_WIDTH || lengthOf(cell) <= width) return [paintCell(cell, style)];
  const lines: string[] = [];
  let line = '';
  for (const word of printable(plainText(cell)).split(' ')) {
    if (line && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line ? `${line} ${word}` : word;
  }
  return [...lines, line].map((text) => paintCell(typeof cell === 'string' ? text : { ...cell, text }, style));
}

function pad(cell: Cell, width: number, { align }: Column, style: ChalkInstance): string {
  const space = ' '.repeat(Math.max(0, width - lengthOf(cell)));
  return align === 'right' ? space + paintCell(cell, style) : paintCell(cell, style) + space;
}

function lengthOf(cell: Cell): number {
  return isBar(cell) ? barText(cell.share).length : Array.from(printable(plainText(cell))).length;
}

function paintCell(cell: Cell, style: ChalkInstance): string {
  return isBar(cell) ? barText(cell.share) : paint(cell, style);
}

function barText(share: number): string {
  return `${'█'.repeat(Math.round(share * BAR_WIDTH)).padEnd(BAR_WIDTH, '░')} ${percent(share)}`;
}

function isBar(cell: Cell): cell is { readonly share: number } {
  return typeof cell !== 'string' && 'share' in cell;
}

function paint(text: Text, style: ChalkInstance): string {
  if (typeof text === 'string') return printable(text);
  return STYLES[text.tone](style)(printable(text.text));
}

const STYLES: Readonly<Record<Tone, (style: ChalkInstance) => (text: string) => string>> = {
  plain: () => (text) => text,
  strong: (style) => style.bold,
  good: (style) => style.green,
  warning: (style) => style.yellow,
  bad: (style) => style.red,
  dim: (style) => style.dim,
};
