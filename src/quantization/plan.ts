import type { AffineParameters, QuantizedType } from '../tensor/affine.js';
import type { TargetName } from './target.js';

/** What a node will run as. */
export type Decision = 'quantized' | 'float' | 'weights-only' | 'kept';

/** Scale and zero point of a value that passes through Q and DQ. */
export interface PlannedTensor extends AffineParameters {
  /** Range that the parameters were made from. */
  readonly range: readonly [number, number];
  /** The value whose parameters these are, where it shares them. */
  readonly sharedWith?: string;
}

/** A constant that is stored as integers. */
export interface PlannedConstant {
  readonly dtype: QuantizedType | 'int32';
  /** Axis of the channels in the float constant; null for one scale in all. Along axis 1 of an LSTM's weight, each direction has scales of its own. */
  readonly axis: number | null;
  /** Key in the plan's table of scales. */
  readonly scales: string;
  readonly zeroPoint: number;
  /** Largest magnitude of the integers around the zero point; absent for biases. */
  readonly limit?: number;
}

/** The bias of a MatMul. The runtime makes one Gemm of MatMul and Add where it knows a matrix or fixed dimensions. */
export interface PlannedBiasAdd {
  /** Name of the Add. */
  readonly name: string;
  /** Index of the bias among its inputs. */
  readonly input: number;
  readonly constant: PlannedConstant;
  /** `int32` is what an integer Gemm takes; next to a MatMul that stays one, the bias stays `float`. */
  readonly as: 'int32' | 'float';
}

/** A pool or batch norm that is written as a depthwise convolution. */
export interface PlannedDepthwise {
  readonly channels: number;
  readonly weight: PlannedConstant;
  readonly bias?: PlannedConstant;
}

/** One node of the model with what is to become of it. */
export interface PlannedNode {
  /** Unique among the nodes of a prepared model. */
  readonly name: string;
  readonly opType: string;
  readonly decision: Decision;
  /** Why it stays float, or what is special about it; null where nothing is. */
  readonly reason: string | null;
  /** Kernel that the runtime should choose. */
  readonly kernel?: string;
  /** Activations that it reads through Q and DQ: values by input index. */
  readonly activations?: Readonly<Record<number, string>>;
  /** For a node that another one takes along, the name of that one. */
  readonly takenBy?: string;
  /** Values that it makes as integers, so that every reader goes through Q → DQ. */
  readonly outputs?: readonly string[];
  /** Constant inputs, by input index, that are stored as integers. */
  readonly constants?: Readonly<Record<number, PlannedConstant>>;
  /** The depthwise convolution that it is written as: how its weight is stored, and its bias. */
  readonly depthwise?: PlannedDepthwise;
  /** MatMul only: the Add that carries the bias, and how the bias is stored. */
  readonly biasAdd?: PlannedBiasAdd;
  /** Name of an activation before the quantized output that does not become redundant, so that a Q/DQ pair goes before it. */
  readonly pairBefore?: string;
}

/** All decisions of a quantization as plain data: a recipe carries it out, `--dry-run` prints it. */
export interface QuantizationPlan {
  readonly schema: 'qdq.plan/1';
  readonly mode: 'static' | 'dynamic' | 'qat' | 'weight-only';
  readonly target: TargetName;
  readonly activationType: QuantizedType | 'float16';
  readonly weightType: QuantizedType | 'int4' | 'uint4' | 'float16';
  readonly method: string;
  /** Domain of the Q/DQ nodes: '' or 'com.microsoft'. */
  readonly domain: string;
  readonly nodes: readonly PlannedNode[];
  readonly tensors: Readonly<Record<string, PlannedTensor>>;
  /** Scales by key; per-channel ones stand here and not in every line. */
  readonly scales: Readonly<Record<string, readonly number[]>>;
}
