import type { ChalkInstance } from 'chalk';
import type { Ora } from 'ora';
import type { ProgressEvent, Warning } from '../src/progress.js';
import { bytes, duration, figure, groupThousands, printable } from '../src/report/format.js';

/** How the terminal is to be used. */
export interface TerminalSettings {
  readonly noColor: boolean;
  /** Neither progress nor warnings. */
  readonly quiet?: boolean;
}

/** stderr as people see it: messages, warnings, and the progress of long work. */
export interface Terminal {
  readonly error: (message: string, hint: string | undefined) => void;
  readonly warn: (warning: Warning) => void;
  readonly progress: (event: ProgressEvent) => void;
  /** Takes the progress line away. */
  readonly stop: () => void;
}

/** Opens stderr. Color and the spinner are loaded only where they are shown. */
export async function openTerminal({ noColor, quiet = false }: TerminalSettings): Promise<Terminal> {
  const style = usesColor(process.stderr, noColor) ? new (await import('chalk')).Chalk({ level: 1 }) : undefined;
  // A pseudo-terminal without a size (docker, script) has 0 columns, with which ora clears lines without end.
  const isScreen = process.stderr.isTTY && process.stderr.columns > 0;
  const progress = quiet ? undefined : isScreen ? new ProgressLine(style !== undefined) : new ProgressLog((line) => process.stderr.write(`${line}\n`));
  return {
    error: (message, hint) => write(style, 'red', 'error', message, hint),
    warn: ({ message, advice }) => {
      if (!quiet) write(style, 'yellow', 'warning', message, advice);
    },
    progress: (event) => progress?.update(event),
    stop: () => progress?.stop(),
  };
}

/** Whether to color what goes to a stream. Source: https://no-color.org and https://force-color.org. */
export function usesColor(stream: NodeJS.WriteStream, noColor: boolean): boolean {
  const { NO_COLOR, FORCE_COLOR, TERM } = process.env;
  if (noColor || NO_COLOR || FORCE_COLOR === '0') return false;
  return FORCE_COLOR ? true : stream.isTTY && TERM !== 'dumb';
}

function write(style: ChalkInstance | undefined, color: 'red' | 'yellow', kind: string, message: string, hint: string | undefined): void {
  const label = style ? style[color].bold(`${kind}:`) : `${kind}:`;
  const lines = [`${label} ${oneLine(message)}`, ...(hint ? [`${style ? style.dim('hint:') : 'hint:'} ${oneLine(hint)}`] : [])];
  process.stderr.write(`${lines.join('\n')}\n`);
}

/** Messages of the runtime come with line breaks and, at times, with names that hold control characters. */
function oneLine(text: string): string {
  return printable(text.trim().replace(/\s*\n\s*/g, ' '));
}

/** Where no line can be drawn anew, as in a log, one is written this often. */
const LOG_EVERY_MS = 10_000;

/** Progress in a log: what is being done, and since when the command runs, in a line of its own each `everyMs`, whether or not anything was reported. */
export class ProgressLog {
  readonly #begun = Date.now();
  readonly #timer: NodeJS.Timeout;
  #text = '';

  constructor(write: (line: string) => void, everyMs = LOG_EVERY_MS) {
    this.#timer = setInterval(() => write(`progress: ${this.#text || 'working'}, after ${duration(Date.now() - this.#begun)}`), everyMs).unref();
  }

  update(event: ProgressEvent): void {
    this.#text = progressText(event, 0);
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}

/** The line with the spinner; the spinner's library is slow to load, so it is there from the first event on only. */
class ProgressLine {
  readonly #color: boolean;
  #spinner: Ora | undefined;
  #loading = false;
  #stopped = false;
  #text = '';
  #stage = '';
  #done = 0;
  #stageStart = 0;

  constructor(color: boolean) {
    this.#color = color;
  }

  update(event: ProgressEvent): void {
    // The same work on other models starts to count anew.
    if (event.stage !== this.#stage || event.done < this.#done) this.#stageStart = Date.now();
    this.#stage = event.stage;
    this.#done = event.done;
    this.#text = progressText(event, Date.now() - this.#stageStart);
    if (this.#spinner) this.#spinner.text = this.#text;
    else if (!this.#loading) void this.#start();
  }

  stop(): void {
    this.#stopped = true;
    this.#spinner?.stop();
  }

  async #start(): Promise<void> {
    this.#loading = true;
    const { default: ora } = await import('ora');
    if (this.#stopped) return;
    this.#spinner = ora({ text: this.#text, stream: process.stderr, discardStdin: false, color: this.#color ? 'cyan' : false }).start();
  }
}

/** "calibrating: 12 of 64 samples, 8.30/s, 6.27 s left", or "writing: 201 MB of 805 MB, 402 MB/s, 1.50 s left". */
export function progressText({ stage, done, total, unit = '' }: ProgressEvent, elapsedMs: number): string {
  const amount = unit === 'bytes' ? bytes : groupThousands;
  const count = `${amount(done)}${total === undefined ? '' : ` of ${amount(total)}`}${unit && unit !== 'bytes' ? ` ${unit}` : ''}`;
  if (done === 0 || elapsedMs < 500) return `${stage}: ${count}`;
  const perSecond = (done / elapsedMs) * 1000;
  const left = total === undefined || done >= total ? '' : `, ${duration(((total - done) / perSecond) * 1000)} left`;
  return `${stage}: ${count}, ${unit === 'bytes' ? bytes(perSecond) : figure(perSecond)}/s${left}`;
}
