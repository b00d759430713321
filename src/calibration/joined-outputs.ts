/** What is kept of the elements of one tensor in one sample: those on a grid, and extremes that cover all. All of it finite. */
export interface ReducedElements {
  readonly grid: readonly Float32Array[];
  /** None where the grid is every element. */
  readonly maxima: readonly Float32Array[];
  /** Greatest elements of the negated tensor; none where no element can be negative. */
  readonly negatedMinima: readonly Float32Array[];
}

/** Parts of values that are joined along their channels: elements come by image, then channel, then place. */
export interface JoinedBlock {
  readonly images: number;
  /** Elements of one channel. */
  readonly places: number;
  readonly parts: readonly JoinedPart[];
}

/** A run of channels in a block. */
export interface JoinedPart {
  readonly value: string;
  readonly kind: keyof ReducedElements;
  /** Dimensions of the whole value. */
  readonly dims: readonly number[];
}

/** What was handed out of one value in one sample, as views of outputs. */
export interface ReducedValue {
  /** Dimensions of the whole value. */
  readonly dims: readonly number[];
  readonly elements: Readonly<Record<keyof ReducedElements, Float32Array[]>>;
}

/** Adds the parts in a joined output to the values that they belong to, by name. */
export function splitJoined(blocks: readonly JoinedBlock[], joined: Float32Array, values: Map<string, ReducedValue>): void {
  let at = 0;
  for (const { images, places, parts } of blocks) {
    for (let image = 0; image < images; image++) {
      for (const { value, kind, dims } of parts) {
        const reduced = values.get(value) ?? { dims, elements: { grid: [], maxima: [], negatedMinima: [] } };
        values.set(value, reduced);
        reduced.elements[kind].push(joined.subarray(at, (at += dims[1]! * places)));
      }
    }
  }
}
