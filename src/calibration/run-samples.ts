import type { Sample } from '../data/sample.js';
import type { TableSample } from './calibration-table.js';
import { SampleRunner, type PlanSessions, type SampleOutcome } from './sample-runner.js';
import type { TensorRecord } from './tensor-record.js';

/** What was observed, by value name. */
export type Records = Readonly<Record<string, TensorRecord>>;

/** Hears of each sample when it is done. */
export type SampleListener = (sample: TableSample, outcome: SampleOutcome) => void;

/** Something that runs samples. */
export interface RunSamples {
  /** Takes a sample. Returns false where one has failed; `finish` then throws what it threw. */
  add(sample: Sample): Promise<boolean>;
  /** Waits for the samples taken and returns what was observed, in parts. */
  finish(): Promise<Records[]>;
}

/** Runs samples in this thread, on sessions that stay open. */
export class LocalRun implements RunSamples {
  readonly #runner: SampleRunner;
  readonly #listener: SampleListener;

  constructor(sessions: PlanSessions, listener: SampleListener) {
    this.#runner = new SampleRunner(sessions);
    this.#listener = listener;
  }

  async add(sample: Sample): Promise<boolean> {
    const outcome = await this.#runner.run(sample.name, sample.inputs);
    this.#listener({ name: sample.name, sha256: sample.digest }, outcome);
    return true;
  }

  finish(): Promise<Records[]> {
    return Promise.resolve([this.#runner.records()]);
  }
}
