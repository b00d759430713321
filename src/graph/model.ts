import type { DType } from '../tensor/dtype.js';
import type { Tensor } from '../tensor/tensor.js';

declare const originBrand: unique symbol;

/**
 * The decoded message that an object came from, kept so that encoding loses nothing. Opaque outside the codec; copying an
 * object with `{ ...object, changed }` carries it along.
 */
export interface Origin {
  readonly [originBrand]?: never;
}

/** A model in memory. All of it is immutable: a pass returns a new model that shares what it did not change. */
export interface Model {
  readonly irVersion: number;
  /** Operator set versions by domain; the ONNX domain is ''. */
  readonly opsets: ReadonlyMap<string, number>;
  /** Tool that wrote the file, and its version. */
  readonly producer: string;
  /** `metadata_props` of the model. */
  readonly metadata: ReadonlyMap<string, string>;
  readonly graph: Graph;
  readonly functions: readonly ModelFunction[];
  /** Bodies that stand in the graph around them while it is planned for. Not a part of the file. */
  readonly openBodies?: OpenBodies;
  readonly origin?: Origin;
}

/** Which bodies stand in the graph around them: see passes/open-bodies.ts. */
export interface OpenBodies {
  /** Names of the If, Loop and Scan nodes whose bodies do. */
  readonly opened: ReadonlySet<string>;
  /** For each name that a node had when they were opened, the name of the Loop or Scan that the node is from; '' for none. */
  readonly homes: ReadonlyMap<string, string>;
}

/** A function of the model itself: an operator made of others. Kept as it is, or put in the place of its calls. */
export interface ModelFunction {
  readonly name: string;
  readonly domain: string;
  readonly overload: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Values that attributes take where a call does not give them. */
  readonly defaults: ReadonlyMap<string, Attribute>;
  /** Operator set versions that its nodes are written in. */
  readonly opsets: ReadonlyMap<string, number>;
  readonly nodes: readonly Node[];
  readonly origin?: Origin;
}

/** A graph, or the body of a control-flow node. Values are strings, unique in a graph and its bodies. */
export interface Graph {
  readonly name: string;
  /** In topological order. */
  readonly nodes: readonly Node[];
  /** Dense constants by value name, in file order. */
  readonly initializers: ReadonlyMap<string, Tensor>;
  /** Names of sparse constants, whose data only the codec holds. */
  readonly sparseInitializers: readonly string[];
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  /** Declared types of values inside. Hints at best: types are observed by running, never inferred. */
  readonly valueInfo: readonly ValueInfo[];
  readonly origin?: Origin;
}

/** An operator with its inputs and outputs; an absent optional one is ''. */
export interface Node {
  readonly name: string;
  readonly opType: string;
  /** '' is the ONNX domain ("ai.onnx" reads as ''). */
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: ReadonlyMap<string, Attribute>;
  /** Which of several functions of the model with the operator's name is called. */
  readonly overload?: string;
  readonly origin?: Origin;
}

/** A dimension: a size, a symbol's name, or null where neither is declared. */
export type Dim = number | string | null;

/** Declared type of a value. */
export type ValueType =
  | { readonly kind: 'tensor'; readonly dtype: DType; readonly shape?: readonly Dim[] }
  | { readonly kind: 'sparse-tensor' | 'sequence' | 'map' | 'optional' | 'opaque' | 'none' };

/** A named value with its declared type. */
export interface ValueInfo {
  readonly name: string;
  readonly type: ValueType;
  readonly origin?: Origin;
}

/** An attribute's value. Integers beyond 2^53 are bigint. A function's parameter reference is `reference`. */
export type AttributeValue =
  | { readonly kind: 'int'; readonly value: number | bigint }
  | { readonly kind: 'float'; readonly value: number }
  | { readonly kind: 'string'; readonly value: string }
  | { readonly kind: 'ints'; readonly value: readonly (number | bigint)[] }
  | { readonly kind: 'floats'; readonly value: readonly number[] }
  | { readonly kind: 'strings'; readonly value: readonly string[] }
  | { readonly kind: 'tensor'; readonly value: Tensor }
  | { readonly kind: 'graph'; readonly value: Graph }
  | { readonly kind: 'graphs'; readonly value: readonly Graph[] }
  | { readonly kind: 'reference'; readonly value: string }
  | { readonly kind: 'other' };

export type Attribute = AttributeValue & { readonly origin?: Origin };
