import type { Sample } from '../data/sample.js';
import type { TableSample } from './calibration-table.js';
import { SampleRunner, type RunPlan, type SampleOutcome } from './sample-runner.js';
import type { TensorRecord } from './tensor-record.js';

/** What was observed, by value name. */
export type Records = Readonly<Record<string, TensorRecord>>;

/** Hears of each sample when it is done. */
export type SampleListener = (sample: TableSample, outcome: SampleOutcome) => void;

/** Something that runs samples. */
export interface RunSamples {
  /** Takes a sample. Returns false where one has failed; `finish` then throws what it threw. */
  add(sample: Sample): Promise<boolean>;
  /** Waits for the samples taken, closes everything, and returns what was observed, in parts. */
  finish(): Promise<Records[]>;
}

/** Runs samples in this thread; `open` may be called first. */
export function inThisThread(plan: RunPlan, listener: SampleListener): RunSamples & { open(): Promise<void> } {
  const runner = new SampleRunner(plan);
  return {
    open: () => runner.open(),
    add: async (sample) => {
      const outcome = await runner.run(sample.name, sample.inputs);
      listener({ name: sample.name, sha256: sample.digest }, outcome);
      return true;
    },
    finish: async () => {
      await runner.close();
      return [runner.records()];
    },
  };
}
