/** What a piece of text says about what it describes; Markdown shows `strong` only. */
export type Tone = 'plain' | 'strong' | 'good' | 'warning' | 'bad' | 'dim';

/** Text with a tone. */
export interface Span {
  readonly text: string;
  readonly tone: Tone;
}

/** A share 0 … 1, drawn as a bar and followed by its percentage. */
export interface Bar {
  readonly share: number;
}

/** Words of a report. */
export type Text = string | Span;

/** What stands in one place of a table. */
export type Cell = Text | Bar;

/** A column of a table; numbers stand to the right. */
export interface Column {
  readonly title: string;
  readonly align?: 'left' | 'right';
}

/** A part of a report. */
export type Block =
  | { readonly kind: 'heading'; readonly text: string }
  | { readonly kind: 'paragraph'; readonly text: Text }
  | { readonly kind: 'facts'; readonly facts: readonly Fact[] }
  | LongBlock;

/** A block that a terminal shows the beginning of; `whole` where it is what was asked for. */
export type LongBlock = (
  | { readonly kind: 'list'; readonly items: readonly Text[] }
  | { readonly kind: 'table'; readonly columns: readonly Column[]; readonly rows: readonly (readonly Cell[])[] }
) & { readonly whole?: boolean };

/** A label and what there is to say under it. */
export type Fact = readonly [label: string, text: Text];

/** A result in words, without a form: each result is described once and rendered for terminals and as Markdown. */
export interface ReportDocument {
  readonly title: string;
  readonly blocks: readonly Block[];
}

/** The title of a part of a report. */
export function heading(text: string): Block {
  return { kind: 'heading', text };
}

/** One line, or a few. */
export function paragraph(text: Text): Block {
  return { kind: 'paragraph', text };
}

/** Labeled lines; null for those that there is nothing to say under. */
export function facts(list: readonly (Fact | null)[]): Block {
  return { kind: 'facts', facts: list.filter((fact) => fact !== null) };
}

/** Text with a tone. */
export function span(text: string, tone: Tone): Span {
  return { text, tone };
}

/** The characters of a text, whatever its tone. */
export function plainText(text: Text): string {
  return typeof text === 'string' ? text : text.text;
}
