import { createNode } from '../graph/graph-editor.js';
import type { Model } from '../graph/model.js';
import { Names } from '../graph/names.js';
import { withOutputs } from './tap.js';

/** Names of the outputs that tell of one value. */
export interface ExtremesOutputs {
  readonly max: string;
  readonly min: string;
  /** Not finite where an element is NaN or infinite: extremes may miss a NaN. */
  readonly sum: string;
  readonly dims: string;
}

/** A tapped model that can hand out the extremes of values instead of the values. */
export interface ExtremesTap {
  readonly model: Model;
  /** By value. */
  readonly extremes: ReadonlyMap<string, ExtremesOutputs>;
}

/**
 * The model, whose outputs are the values to observe, with the extremes of those in float32 as outputs too: handing a value out takes longer than
 * computing it.
 */
export function extremesTap(model: Model, isFloat32: (value: string) => boolean): ExtremesTap {
  const { graph } = model;
  const names = new Names(graph);
  const values = graph.outputs.map(({ name }) => name);
  const nodes = [...graph.nodes];
  const add = (opType: string, value: string): string => {
    const name = names.unique(`${value}_${opType}`);
    nodes.push(createNode({ name, opType, inputs: [value], outputs: [name], attributes: opType === 'Shape' ? {} : { keepdims: { kind: 'int', value: 0 } } }));
    return name;
  };
  const extremes = new Map(
    values.filter(isFloat32).map((value) => [value, { max: add('ReduceMax', value), min: add('ReduceMin', value), sum: add('ReduceSum', value), dims: add('Shape', value) }]),
  );
  return { model: withOutputs({ ...model, graph: { ...graph, nodes } }, [...values, ...outputsOf(extremes)]), extremes };
}

/** The names of all outputs that tell extremes. */
export function outputsOf(extremes: ExtremesTap['extremes']): string[] {
  return [...extremes.values()].flatMap(({ max, min, sum, dims }) => [max, min, sum, dims]);
}
