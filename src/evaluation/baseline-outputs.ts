import { stat } from 'node:fs/promises';
import type { Session, SessionOptions } from '../runtime/session.js';
import { openStaged, type StagedModel } from '../runtime/staged-model.js';
import { bytesOf, type Tensor } from '../tensor/tensor.js';

type Outputs = ReadonlyMap<string, Tensor>;

/** How the baseline runs. */
type Settings = Pick<SessionOptions, 'threads' | 'runtime' | 'spinning' | 'simulateQdq'>;

/** Outputs that are kept from one judging to the next. */
const MAX_KEPT_BYTES = 64e6;

/** Those of the baseline that was judged against last, by sample, and what they hold for. */
let kept: { readonly key: string; readonly outputs: Map<string, Outputs>; bytes: number } = { key: '', outputs: new Map(), bytes: 0 };

/** What a baseline gives for samples: run once for each, also over several judgings in this process, as far as there is room. */
export class BaselineOutputs {
  readonly #model: StagedModel;
  readonly #settings: Settings;
  #session: Session | undefined;

  private constructor(model: StagedModel, settings: Settings, session: Session | undefined) {
    this.#model = model;
    this.#settings = settings;
    this.#session = session;
  }

  /** `scope` names what, beside the model, the outputs depend on. Without one, nothing is kept. */
  static async open(model: StagedModel, settings: Settings, scope: string | undefined): Promise<BaselineOutputs> {
    const { mtimeMs, size } = await stat(model.path);
    const key = scope === undefined ? '' : JSON.stringify([model, mtimeMs, size, settings, scope]);
    if (kept.key !== key || key === '') kept = { key, outputs: new Map(), bytes: 0 };
    return new BaselineOutputs(model, settings, kept.outputs.size === 0 ? await openStaged(model, settings) : undefined);
  }

  async of(sample: string, inputs: ReadonlyMap<string, Tensor>): Promise<Outputs> {
    const known = kept.outputs.get(sample);
    if (known) return known;
    this.#session ??= await openStaged(this.#model, this.#settings);
    const outputs = await this.#session.run(inputs);
    const bytes = bytesOf(outputs.values());
    if (kept.key !== '' && kept.bytes + bytes <= MAX_KEPT_BYTES) {
      kept.outputs.set(sample, outputs);
      kept.bytes += bytes;
    }
    return outputs;
  }

  async release(): Promise<void> {
    await this.#session?.release();
  }
}
