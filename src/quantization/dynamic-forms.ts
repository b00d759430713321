import { withAttributes } from '../graph/attributes.js';
import { createNode, type GraphEditor } from '../graph/graph-editor.js';
import type { Attribute, Node } from '../graph/model.js';
import type { Names } from '../graph/names.js';
import type { Tensor } from '../tensor/tensor.js';

/** Names of a weight's integers and parameters. */
export interface StoredWeight {
  readonly integers: string;
  readonly scale: string;
  readonly zeroPoint: string;
  readonly perChannel: boolean;
}

/** Inputs of LSTM before those that DynamicQuantizeLSTM adds: X, W, R, B, sequence_lens, initial_h, initial_c, P. */
const LSTM_INPUTS = 8;
const FLOAT32_CODE = 1;

/**
 * Writes the node forms that onnxruntime fuses into one graph. Source of the forms: core/optimizer/matmul_integer_to_float.cc and
 * dynamic_quantize_matmul_fusion.cc of onnxruntime; test/runtime/dynamic-kernels.test.ts shows what becomes of them.
 */
export class DynamicForms {
  readonly #editor: GraphEditor;
  readonly #names: Names;
  readonly #quantized = new Map<string, readonly [string, string, string]>();

  constructor(editor: GraphEditor, names: Names) {
    this.#editor = editor;
    this.#names = names;
  }

  /**
   * In place of MatMul, Gemm or Conv: y = Cast(MatMulInteger(q(x), w)) · (scale of x · scale of w) + bias. The integer node keeps the name.
   */
  product(node: Node, opType: 'MatMulInteger' | 'ConvInteger', weight: StoredWeight, bias: string | undefined): readonly Node[] {
    const output = node.outputs[0]!;
    const label = node.name || output;
    const [x, xScale, xZeroPoint] = this.#quantizedInput(node.inputs[0]!);
    const value = (suffix: string) => this.#names.unique(`${output}_${suffix}`);
    const sums = value('i');
    const floats = value('f');
    const scale = value('scale');
    const scaled = bias ? value('scaled') : output;
    const make = (suffix: string, type: string, inputs: readonly string[], result: string, attributes: Record<string, Attribute> = {}) =>
      createNode({ name: this.#names.unique(`${label}_${suffix}`), opType: type, inputs, outputs: [result], attributes });
    return [
      {
        name: label,
        opType,
        domain: '',
        inputs: [x, weight.integers, xZeroPoint, weight.zeroPoint],
        outputs: [sums],
        attributes: opType === 'ConvInteger' ? node.attributes : new Map(),
      },
      make('cast', 'Cast', [sums], floats, { to: { kind: 'int', value: FLOAT32_CODE } }),
      make('scales', 'Mul', [xScale, weight.scale], scale),
      make('mul', 'Mul', [floats, scale], scaled),
      ...(bias ? [make('bias', 'Add', [scaled, bias], output)] : []),
    ];
  }

  /** In place of a Gather of floats: the integers are looked up and only those become floats. */
  lookup(node: Node, table: StoredWeight, domain: string): readonly Node[] {
    const integers = this.#names.unique(`${node.outputs[0]}_q`);
    return [
      { ...node, inputs: [table.integers, node.inputs[1]!], outputs: [integers] },
      createNode({
        name: this.#names.unique(`${node.name || node.outputs[0]}_DQ`),
        opType: 'DequantizeLinear',
        domain,
        inputs: [integers, table.scale, table.zeroPoint],
        outputs: node.outputs,
        attributes: table.perChannel ? { axis: { kind: 'int', value: -1 } } : {},
      }),
    ];
  }

  lstm(node: Node, w: StoredWeight, r: StoredWeight): Node {
    const inputs = Array.from({ length: LSTM_INPUTS }, (_, i) => node.inputs[i] ?? '');
    inputs[1] = w.integers;
    inputs[2] = r.integers;
    const { origin: _, ...plain } = withAttributes(node, { layout: undefined });
    return { ...plain, opType: 'DynamicQuantizeLSTM', domain: 'com.microsoft', inputs: [...inputs, w.scale, w.zeroPoint, r.scale, r.zeroPoint] };
  }

  /** A bias of one number a channel, in a shape that is added along a convolution's channels. */
  channelBias(hint: string, bias: Tensor, spatialRank: number): string {
    const name = this.#names.unique(`${hint}_channels`);
    this.#editor.setInitializer(name, { dtype: bias.dtype, dims: [...bias.dims, ...new Array<number>(spatialRank).fill(1)], storage: bias.storage });
    return name;
  }

  /** The value as u8 with its scale and zero point, made once for all its readers in the graph. */
  #quantizedInput(value: string): readonly [string, string, string] {
    let outputs = this.#quantized.get(value);
    if (!outputs) {
      outputs = [this.#names.unique(`${value}_u8`), this.#names.unique(`${value}_scale`), this.#names.unique(`${value}_zero`)];
      this.#quantized.set(value, outputs);
      this.#editor.add(createNode({ name: this.#names.unique(`${value}_DynamicQuantize`), opType: 'DynamicQuantizeLinear', inputs: [value], outputs }));
    }
    return outputs;
  }
}
