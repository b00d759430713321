import { InvalidArgumentError, Option, type Command } from 'commander';
import { RUNTIMES } from '../src/runtime/runtime-names.js';

/** An option that may be given several times, and as a list in a config file. */
export class RepeatableOption extends Option {}

/** The options that every command has. */
export function addCommonOptions(program: Command): void {
  program
    .option('--json', 'print the result as one JSON object, and nothing else, on stdout')
    .option('--report <file>', 'also write the report: .json or .md')
    .option('--quiet', 'no progress and no warnings on stderr')
    .option('--no-color', 'no color (NO_COLOR in the environment does the same)')
    .addOption(new Option('--threads <n>', 'threads inside one operator (default: one for each core)').argParser(positiveInteger))
    .option('--debug', 'show the stack of errors')
    .option('--config <file>', 'read options from a JSON file, under their long names; the command line wins');
}

/** Inputs that are frozen. */
export function freezeOption(): Option {
  return new RepeatableOption('--freeze <name=value>', 'value of an input for good, as in sr=16000: the model computes with it whatever callers feed, and branches that it decides are settled; repeatable').argParser(frozenInputs);
}

/** Where models run; `what` stands before the choices. */
export function runtimeOption(what = ''): Option {
  return new Option('--runtime <name>', `${what}node: onnxruntime-node; web: onnxruntime-web's WebAssembly, which browsers run (npm install onnxruntime-web)`).choices(RUNTIMES).default(RUNTIMES[0]);
}

/** 1, 2, 3, … */
export function positiveInteger(text: string): number {
  const value = numberOf(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError('Expected a whole number from 1 on.');
  return value;
}

/** 0, 1, 2, … */
export function wholeNumber(text: string): number {
  const value = numberOf(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new InvalidArgumentError('Expected a whole number from 0 on.');
  return value;
}

/** Any finite number. */
export function finiteNumber(text: string): number {
  const value = numberOf(text);
  if (!Number.isFinite(value)) throw new InvalidArgumentError('Expected a number.');
  return value;
}

/** A number, or a fraction such as 1/255. */
export function fraction(text: string): number {
  const [numerator = '', denominator, ...others] = text.split('/');
  const value = denominator === undefined ? numberOf(numerator) : numberOf(numerator) / numberOf(denominator);
  if (!Number.isFinite(value) || others.length > 0) throw new InvalidArgumentError('Expected a number or a fraction such as 1/255.');
  return value;
}

/** A share 0 … 1. */
export function share(text: string): number {
  const value = numberOf(text);
  if (!(value >= 0 && value <= 1)) throw new InvalidArgumentError('Expected a share from 0 to 1.');
  return value;
}

/** More than 0, up to 100. */
export function percentage(text: string): number {
  const value = numberOf(text);
  if (!(value > 0 && value <= 100)) throw new InvalidArgumentError('Expected a percentage above 0, up to 100.');
  return value;
}

/** A size in pixels: one number, or width and height as in 224x192. */
export function imageSize(text: string): number | { width: number; height: number } {
  const [width, height, ...others] = text.split('x').map(numberOf);
  const isSize = (value: number | undefined) => value !== undefined && Number.isSafeInteger(value) && value > 0;
  if (!isSize(width) || (height !== undefined && !isSize(height)) || others.length > 0) {
    throw new InvalidArgumentError('Expected pixels: one number, or width and height as in 224x192.');
  }
  return height === undefined ? width! : { width: width!, height };
}

/** Numbers with commas between, added to those given before. */
export function numberList(text: string, before: readonly number[] = []): number[] {
  const values = text.split(',').map(numberOf);
  if (!values.every(Number.isFinite)) throw new InvalidArgumentError('Expected numbers with commas between.');
  return [...before, ...values];
}

/** Texts with commas between, added to those given before. */
export function textList(text: string, before: readonly string[] = []): string[] {
  const values = text.split(',').map((value) => value.trim());
  if (values.includes('')) throw new InvalidArgumentError('Expected names with commas between.');
  return [...before, ...values];
}

/** One text more than before. */
export function collectText(text: string, before: readonly string[] = []): string[] {
  return [...before, text];
}

/** Shapes by input name: each text is one, as in image=1,3,224,224. Names may hold "=". */
export function shapes(text: string, before: Readonly<Record<string, readonly number[]>> = {}): Record<string, readonly number[]> {
  const [, name, dims] = /^(.+)=([\d,]*)$/.exec(text) ?? [];
  const shape = dims ? dims.split(',').map(numberOf) : [];
  if (name === undefined || !shape.every((dim) => Number.isSafeInteger(dim) && dim > 0)) {
    throw new InvalidArgumentError('Expected an input name and its dimensions, as in image=1,3,224,224.');
  }
  return { ...before, [name]: shape };
}

/** Elements by input name, as text: each text is one, as in sr=16000. Names may hold "=". */
export function frozenInputs(text: string, before: Readonly<Record<string, readonly string[]>> = {}): Record<string, readonly string[]> {
  const [, name, values] = /^(.+)=([^=]+)$/.exec(text) ?? [];
  if (name === undefined) throw new InvalidArgumentError('Expected an input name and its value, as in sr=16000.');
  return { ...before, [name]: values!.split(',').map((value) => value.trim()) };
}

/** NaN for what is no number; Number('') would be 0. */
function numberOf(text: string): number {
  return text.trim() === '' ? NaN : Number(text);
}

type Defined<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** The fields that have a value. */
export function definedFields<T extends object>(fields: T): Defined<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Defined<T>;
}
