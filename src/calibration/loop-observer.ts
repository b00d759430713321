import { createNode } from '../graph/graph-editor.js';
import type { Attribute, Node } from '../graph/model.js';
import type { Names } from '../graph/names.js';
import { dtypeInfo, type DType } from '../tensor/dtype.js';
import { int64Tensor, tensorFromArray, type Tensor } from '../tensor/tensor.js';

/** What a loop carries along to tell of one value that its body makes: the names of three values. */
export interface LoopState {
  /** float32[ROWS, ROW_LENGTH]: elements of single rounds, a row for each. */
  readonly rows: string;
  /** float32[2]: the negated minimum and the maximum of the finite elements of all rounds and of 0. */
  readonly extremes: string;
  /** int64[4]: rounds in which the value had elements, their elements, NaN and infinite ones among them. */
  readonly counts: string;
}

/** The names of all outputs that tell of the values of loops, by value. */
export function loopOutputs(looped: ReadonlyMap<string, LoopState>): string[] {
  return [...looped.values()].flatMap(({ rows, extremes, counts }) => [rows, extremes, counts]);
}

/** Rounds that elements are kept of, evenly over all of them: at least half as many where there are more. */
export const ROWS = 8;
/** Elements that are kept of a round, evenly over all of them; each several times where there are fewer. */
export const ROW_LENGTH = 4096;
/** Later rounds count for the extremes only. */
const MAX_ROUNDS = 65536;

/**
 * The row that each round is kept in, the rounds evenly over all that there are whenever the loop ends; −1 for those that are not kept. At first every
 * round is kept, and where there are no rows left, every second one of those kept gives way, so that only half as many follow.
 */
export function rowsOfRounds(rows: number, rounds: number): Int32Array {
  const rowOf = new Int32Array(rounds).fill(-1);
  for (let round = 0; round < rows; round++) rowOf[round] = round;
  for (let step = 2; (rows * step) / 2 < rounds; step *= 2) {
    for (let i = 0; i < rows / 2; i++) {
      const round = (rows / 2 + i) * step;
      if (round < rounds) rowOf[round] = rowOf[(2 * i + 1) * (step / 2)]!;
    }
  }
  return rowOf;
}

/**
 * Nodes that observe a value in the rounds of a loop. What they keep has the same size however many rounds there are, and whatever the value's shape
 * is in each of them, so that it can be carried from round to round, through branches and inner loops.
 */
export class LoopObserver {
  readonly #names: Names;
  readonly #constants = new Map<string, readonly [name: string, tensor: Tensor]>();

  constructor(names: Names) {
    this.#names = names;
  }

  /** Constants that the nodes read from the graph around, by name. */
  get constants(): ReadonlyMap<string, Tensor> {
    return new Map(this.#constants.values());
  }

  /** What there is before the first round. */
  get start(): LoopState {
    return {
      rows: this.#constant('no_rows', () => tensorFromArray('float32', [ROWS, ROW_LENGTH], new Float32Array(ROWS * ROW_LENGTH))),
      extremes: this.#constant('no_extremes', () => tensorFromArray('float32', [2], new Float32Array(2))),
      counts: this.#constant('no_counts', () => int64Tensor([0, 0, 0, 0])),
    };
  }

  /** The nodes that take note of a float value, and what is carried along then. */
  take(value: string, { rows, extremes, counts }: LoopState): { readonly nodes: readonly Node[]; readonly state: LoopState } {
    const nodes: Node[] = [];
    const add = (opType: string, inputs: readonly string[], attributes: Readonly<Record<string, Attribute>> = {}): string => {
      const name = this.#names.unique(`${value}_${opType}`);
      nodes.push(createNode({ name, opType, inputs, outputs: [name], attributes }));
      return name;
    };
    const to = (input: string, dtype: DType) => add('Cast', [input], { to: { kind: 'int', value: dtypeInfo(dtype).code } });
    const along = { axis: { kind: 'int', value: 0 } } as const;
    const only = { keepdims: { kind: 'int', value: 1 } } as const;
    const zero = this.#constant('zero', () => tensorFromArray('float32', [1], new Float32Array(1)));
    const flat = add('Reshape', [to(value, 'float32'), this.#constant('flat', () => int64Tensor([-1]))]);
    const size = add('Shape', [flat]);
    const isSeen = to(size, 'bool');
    // With a zero at the end there is always an element, and ranges hold 0 all the same.
    const padded = add('Concat', [flat, zero], along);
    const [isNaN, isInfinite] = [add('IsNaN', [padded]), add('IsInf', [padded])];
    const finite = add('Where', [add('Or', [isNaN, isInfinite]), zero, padded]);
    const found = add('Concat', [add('ReduceMax', [add('Neg', [finite])], only), add('ReduceMax', [finite], only)], along);
    const number = (flags: string) => add('ReduceSum', [to(flags, 'int64')], only);
    const seen = add('Concat', [to(isSeen, 'int64'), size, number(isNaN), number(isInfinite)], along);

    const places = add('Mul', [this.#constant('places', () => tensorFromArray('float32', [ROW_LENGTH], Float32Array.from({ length: ROW_LENGTH }, (_, i) => i / ROW_LENGTH))), to(size, 'float32')]);
    const kept = add('Gather', [finite, to(places, 'int64')], along);
    const last = this.#constant('last_round', () => tensorFromArray('float32', [1], Float32Array.of(MAX_ROUNDS - 1)));
    const round = to(add('Min', [to(add('Gather', [counts, this.#constant('first', () => int64Tensor([0]))], along), 'float32'), last]), 'int64');
    const row = add('Gather', [this.#constant('row_of_round', () => tensorFromArray('int32', [MAX_ROUNDS], rowsOfRounds(ROWS, MAX_ROUNDS))), round], along);
    const isRow = add('Equal', [row, this.#constant('row_numbers', () => tensorFromArray('int32', [ROWS, 1], Int32Array.from({ length: ROWS }, (_, i) => i)))]);
    return {
      state: {
        rows: add('Where', [add('And', [isRow, isSeen]), kept, rows]),
        extremes: add('Max', [extremes, found]),
        counts: add('Add', [counts, seen]),
      },
      nodes,
    };
  }

  #constant(hint: string, make: () => Tensor): string {
    const known = this.#constants.get(hint) ?? ([this.#names.unique(`qdq_${hint}`), make()] as const);
    this.#constants.set(hint, known);
    return known[0];
  }
}
