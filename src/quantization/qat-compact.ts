import { createHash } from 'node:crypto';
import { GraphEditor } from '../graph/graph-editor.js';
import { indexOf } from '../graph/graph-index.js';
import type { Model } from '../graph/model.js';
import { passResult, type PassResult } from '../passes/pass.js';
import type { Tensor } from '../tensor/tensor.js';
import { isDequantizeLinear, isQuantizeLinear } from './qat-quantizer.js';

/**
 * Makes the file smaller without changing what it computes: equal scales and zero points are stored once, and Q and DQ nodes, their parameters
 * and the values between them get short names. Exporters spend more bytes on these names than on the scales. Weights and other nodes keep theirs.
 */
export function compactPairs(model: Model): PassResult {
  const { graph } = model;
  const index = indexOf(graph);
  const editor = new GraphEditor(graph);
  const isPair = (opType: string) => opType === 'QuantizeLinear' || opType === 'DequantizeLinear';
  const isParameter = (name: string) => !index.isOutput(name) && index.uses(name).every(({ node, input }) => input > 0 && isPair(node.opType));
  const parameters = new Map<string, string>();
  const byContent = new Map<string, string>();
  const parameter = (name: string): string => {
    const tensor = index.constant(name);
    if (!tensor || !isParameter(name)) return name;
    let short = parameters.get(name);
    if (short === undefined) {
      const content = contentKey(tensor);
      short = byContent.get(content);
      if (short === undefined) byContent.set(content, (short = editor.addInitializer(`${tensor.dtype === 'float32' ? 's' : 'z'}${byContent.size}`, tensor)));
      parameters.set(name, short);
    }
    return short;
  };
  let values = 0;
  for (const node of graph.nodes) {
    if (!isQuantizeLinear(node) && !isDequantizeLinear(node)) continue;
    const [output = ''] = node.outputs;
    const keeps = index.isOutput(output) || index.uses(output).some(({ input }) => input < 0);
    const short = keeps ? output : editor.names.unique(`${isQuantizeLinear(node) ? 'q' : 'd'}${values++}`);
    const renamed = short.length < output.length ? short : output;
    if (renamed !== output) editor.renameUses(output, renamed);
    editor.replace(node, { ...node, name: '', inputs: [node.inputs[0]!, ...node.inputs.slice(1).map((name) => name && parameter(name))], outputs: [renamed] });
  }
  if (values === 0) return { model, changes: [] };
  const compact = editor.finish();
  // Declared types of values that have another name now say nothing.
  const made = new Set(compact.nodes.flatMap((node) => node.outputs));
  return passResult(model, { ...compact, valueInfo: compact.valueInfo.filter(({ name }) => made.has(name) || !index.producer(name)) }, []);
}

function contentKey({ dtype, dims, storage }: Tensor): string {
  const bytes = storage.read();
  return `${dtype}[${dims.join()}]${bytes.length > 64 ? createHash('sha256').update(bytes).digest('base64') : Buffer.from(bytes).toString('base64')}`;
}
