import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { inspect, quantize, QdqError, readModel, type QuantizeOptions, type QuantizeResult } from '../../src/index.js';
import { mapSubgraphs } from '../../src/graph/attributes.js';
import type { Graph, Model } from '../../src/graph/model.js';
import { allNodes } from '../../src/graph/traversal.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { readMessage, writeMessage } from '../../src/onnx/messages.js';
import { numberToFloat16 } from '../../src/tensor/float16.js';
import { float32Tensor, tensorFromArray, type Tensor } from '../../src/tensor/tensor.js';
import { numbersOf } from '../../src/tensor/values.js';
import { noise, writeSample } from '../cli/tiny-model.js';
import { parseModel } from '../helpers/graph-text.js';
import { checkerProblems, noOnnxChecker } from '../helpers/onnx-checker.js';

const folder = mkdtempSync(join(tmpdir(), 'qdq-wild-'));
after(() => rmSync(folder, { recursive: true, force: true }));
let files = 0;

const X = { x: noise([4, 64], 1) };

interface Made extends QuantizeResult {
  readonly written: Model;
  readonly opTypes: readonly string[];
}

/** Writes a model, given as text or bytes, quantizes it with one sample of these inputs (none: without data), and reads the result. */
async function made(model: string | Model | Uint8Array, inputs: Readonly<Record<string, Tensor>> | null = X, more: Partial<QuantizeOptions> = {}): Promise<Made> {
  const name = join(folder, String(files++));
  writeFileSync(`${name}.onnx`, model instanceof Uint8Array ? model : encodeModel(typeof model === 'string' ? parseModel(model) : model));
  if (inputs) writeSample(`${name}.npz`, inputs);
  const data = inputs ? { data: [`${name}.npz`], method: 'minmax' as const } : {};
  const result = await quantize({ model: `${name}.onnx`, output: `${name}.q.onnx`, threads: 1, effort: 'none', ...data, ...more });
  const written = await readModel(`${name}.q.onnx`);
  return { ...result, written, opTypes: [...allNodes(written.graph)].map(({ opType }) => opType) };
}

const isGood = ({ check }: Made, least = 20) => {
  for (const [name, sqnrDb] of Object.entries(check!.simulatedSqnrDb)) assert.ok(sqnrDb! >= least, `${name}: ${sqnrDb} dB`);
};
const allIntegers = ({ integer }: Made) => assert.deepEqual([integer!.integerNodes, integer!.danglingQdqNodes], [integer!.computeNodes, 0]);
const reasons = ({ nodes }: Made) => nodes.flatMap(({ reason }) => reason ?? []).join('\n');

const HEAD = 'ir 8\nopset 13\ninput x float32[N,64]\nconst w float32[64,64] ~1\n';

/** Every weight of a text's main graph and bodies in float16, and every declaration. */
function inFloat16(model: Model): Model {
  const half = (tensor: Tensor) => (tensor.dtype === 'float32' ? tensorFromArray('float16', tensor.dims, Uint16Array.from(numbersOf(tensor), (value) => numberToFloat16(value / 8))) : tensor);
  const change = (graph: Graph): Graph => ({
    ...graph,
    nodes: graph.nodes.map((node) => mapSubgraphs(node, change)),
    initializers: new Map([...graph.initializers].map(([name, tensor]) => [name, half(tensor)])),
    inputs: graph.inputs.map(({ name, type }) => ({ name, type: type.kind === 'tensor' ? { ...type, dtype: 'float16' } : type })),
    outputs: graph.outputs.map(({ name, type }) => ({ name, type: type.kind === 'tensor' ? { ...type, dtype: 'float16' } : type })),
  });
  return { ...model, graph: change(model.graph) };
}

describe('where weights hide', () => {
  test('a value that a loop carries along, and constants inside bodies', async () => {
    const text = `${HEAD}input c bool[]
const n int64[] 3
const m float32[4096] ~2
s, v = Loop(n, , x, w)
  body:
    input i int64[]
    input go bool[]
    input a float32[N,64]
    input b float32[64,64]
    more = Identity(go)
    g = MatMul(a, b)
    t = Tanh(g)
    same = Identity(b)
    output more bool[]
    output t float32[N,64]
    output same float32[64,64]
y = If(c)
  then_branch:
    shape = Constant() value=int64[2](64 64)
    r = Reshape(m, shape)
    u = MatMul(s, r)
    output u float32[N,64]
  else_branch:
    e = Neg(s)
    output e float32[N,64]
output y float32[N,64]`;
    const result = await made(text, { ...X, c: tensorFromArray('bool', [], Uint8Array.of(1)) });
    allIntegers(result);
    assert.equal(result.integer!.computeNodes, 2);
    assert.ok(result.check!.sizeRatio < 0.35, `${result.check!.sizeRatio} of its size`);
  });

  test('a model function, which the proof also looks into', async () => {
    const message = readMessage('ModelProto', encodeModel(parseModel(`${HEAD}opset my 1\nh = my::Block(x, w)\ny = my::Block(h, w)\noutput y float32[N,64]`)));
    const { node, input, output } = readMessage('ModelProto', encodeModel(parseModel('input a float32\ninput b float32\nm = MatMul(a, b)\nr = Relu(m)\noutput r'))).graph!;
    const names = (values: typeof input) => values!.map((value) => value.name!);
    const bytes = writeMessage('ModelProto', { ...message, functions: [{ name: 'Block', domain: 'my', input: names(input), output: names(output), node, opset_import: [{ domain: '', version: 13 }] }] });
    const result = await made(bytes);
    allIntegers(result);
    isGood(result);
    const before = await inspect({ model: result.model.path });
    assert.deepEqual([before.integer!.computeNodes, before.integer!.integerNodes], [2, 0]);
  });
});

describe('float16', () => {
  const text = `${HEAD}const b float32[1024,64] ~3\nh = MatMul(x, w)\nr = Relu(h)\nz = MatMul(r, w)\ny = Div(z, b)\noutput y float16[1024,64]`;
  test('becomes integers, and inputs, outputs and leftover constants stay float16', async () => {
    const sample = { x: tensorFromArray('float16', [1, 64], Uint16Array.from(numbersOf(noise([1, 64], 1)), numberToFloat16)) };
    const result = await made(inFloat16(parseModel(text.replace('Div', 'Sub'))), sample);
    allIntegers(result);
    isGood(result);
    const { graph } = result.written;
    assert.deepEqual([...graph.inputs, ...graph.outputs].map(({ type }) => type.kind === 'tensor' && type.dtype), ['float16', 'float16']);
    assert.equal([...graph.initializers.values()].find(({ dims }) => dims[0] === 1024)?.dtype, 'float16');
    assert.ok(result.check!.sizeRatio < 1);
    const heldBack = await made(inFloat16(parseModel(text.replace('Div', 'Sub'))), sample, { requireSpeedup: 0.001 });
    assert.equal(heldBack.output!.sha256, result.output!.sha256, 'what was held back until its speed was known is the same file');
  });
});

describe('nothing is lost', () => {
  test('metadata, doc strings, names, dimension names, domains; no domain is added', async () => {
    const text = `${HEAD}opset unused.domain 3\nfirst: h = MatMul(x, w)\nmiddle: s = Sin(h)\nlast: y = MatMul(s, w)\nargmax: i = ArgMax(y) axis=1\noutput y float32[N,64]\noutput i int64[N,1]`;
    const message = readMessage('ModelProto', encodeModel(parseModel(text)));
    const { graph } = message;
    const node = graph!.node!.map((each) => (each.name === 'middle' ? { ...each, doc_string: 'sine' } : each));
    const input = graph!.input!.map((each) => ({ ...each, doc_string: 'rows' }));
    const bytes = writeMessage('ModelProto', {
      ...message,
      doc_string: 'about the model',
      domain: 'org.example',
      metadata_props: [{ key: 'character', value: 'a\nb\n我' }, { key: 'empty', value: '' }],
      graph: { ...graph, doc_string: 'about the graph', node, input },
    });
    const { written, opTypes } = await made(bytes);
    assert.ok(opTypes.includes('QuantizeLinear'));
    const result = readMessage('ModelProto', encodeModel(written));
    assert.deepEqual([result.doc_string, result.domain, result.graph!.doc_string], ['about the model', 'org.example', 'about the graph']);
    assert.deepEqual([...written.metadata], [['character', 'a\nb\n我'], ['empty', '']]);
    assert.equal(result.graph!.node!.find(({ name }) => name === 'middle')?.doc_string, 'sine');
    assert.deepEqual(result.graph!.input!.map(({ doc_string: doc }) => doc), ['rows']);
    assert.deepEqual(written.graph.outputs, parseModel(text).graph.outputs.map((output, i) => ({ ...output, origin: written.graph.outputs[i]!.origin })));
    assert.deepEqual([...written.opsets], [['', 13], ['unused.domain', 3]]);
  });
});

describe('operators and types beyond the runtime', () => {
  const text = `${HEAD}opset acme 1\nh = MatMul(x, w)\nodd = acme::Fancy(h)\ny = MatMul(odd, w)\noutput y float32[N,64]`;

  test('a custom operator: dynamic goes on without data and says that it is unverified', async () => {
    const result = await made(text, null);
    assert.deepEqual(result.opTypes.filter((opType) => /MatMul|Fancy/.test(opType)), ['MatMulInteger', 'Fancy', 'MatMulInteger']);
    assert.equal(result.integer, null);
    assert.match(result.warnings.find(({ code }) => code === 'unverified')!.message, /acme\.Fancy/);
    assert.equal((await inspect({ model: result.output!.path })).integer, null);
  });

  test('with data the error names the operator', async () => {
    await assert.rejects(made(text), (error: unknown) => error instanceof QdqError && error.code === 'operator-missing' && /acme\.Fancy/.test(error.message) && error.hint !== undefined);
  });

  for (const [where, isNode] of [['in a Constant node', true], ['among the initializers', false]] as const) {
    test(`float16: a sparse constant ${where} stays float32`, async () => {
      const message = readMessage('ModelProto', encodeModel(parseModel(`${HEAD}h = MatMul(x, k)\ny = MatMul(h, w)\noutput y float32[N,64]`)));
      const tensor = (data_type: number, fields: object) => ({ dims: [2], data_type, ...fields });
      const sparse = { values: { ...tensor(1, { float_data: [0.5, -2] }), name: 'k' }, indices: tensor(7, { int64_data: [3, 4000] }), dims: [64, 64] };
      const constant = { op_type: 'Constant', output: ['k'], attribute: [{ name: 'sparse_value', type: 11, sparse_tensor: sparse }] };
      const graph = isNode ? { ...message.graph, node: [constant, ...message.graph!.node!] } : { ...message.graph, sparse_initializer: [sparse] };
      const result = await made(writeMessage('ModelProto', { ...message, graph }), X, { mode: 'weight-only', weightType: 'float16' });
      isGood(result, 50);
      assert.match(reasons(result), /"k" is a sparse constant/);
      assert.equal(result.nodes.find(({ opType, decision }) => opType === 'MatMul' && decision === 'weights-only') !== undefined, true);
    });
  }

  test('a sparse constant leaves its node in float', async () => {
    const message = readMessage('ModelProto', encodeModel(parseModel(`${HEAD}k = Constant()\nh = MatMul(x, k)\ny = MatMul(h, w)\noutput y float32[N,64]`)));
    const tensor = (data_type: number, fields: object) => ({ dims: [2], data_type, ...fields });
    const sparse = { values: tensor(1, { float_data: [0.5, -2] }), indices: tensor(7, { int64_data: [3, 4000] }), dims: [64, 64] };
    const node = message.graph!.node!.map((each) => (each.op_type === 'Constant' ? { ...each, attribute: [{ name: 'sparse_value', type: 11, sparse_tensor: sparse }] } : each));
    const result = await made(writeMessage('ModelProto', { ...message, graph: { ...message.graph, node } }));
    assert.deepEqual([result.integer!.integerNodes, result.integer!.computeNodes], [1, 2]);
    assert.match(reasons(result), /"k" is a sparse constant/);
  });

  test('bfloat16 inside, sequences and texts as outputs', async () => {
    const result = await made(`${HEAD}a = Cast(x) to=16\nb = Cast(a) to=1\nh = MatMul(b, w)\ny = MatMul(h, w)\ni = ArgMax(y) axis=1\nt = Cast(i) to=8\noutput y float32[N,64]\noutput i int64[N,1]\noutput t string[N,1]`);
    allIntegers(result);
    assert.deepEqual(result.check!.graded, ['y']);
  });
});

describe('numbers that go wrong', () => {
  test('a weight with NaN and a mask of infinities stay in float, the others do not', async () => {
    const model = parseModel(`${HEAD}const bad float32[64,64] ~2\nconst mask float32[64] ~3\nh = MatMul(x, w)\nm = Add(h, mask)\ns = Softmax(m) axis=-1\nt = MatMul(s, bad)\ny = MatMul(s, w)\noutput y float32[N,64]\noutput t float32[N,64]`);
    const change = (name: string, at: number, value: number): [string, Tensor] => {
      const values = Float32Array.from(numbersOf(model.graph.initializers.get(name)!));
      values[at] = value;
      return [name, tensorFromArray('float32', model.graph.initializers.get(name)!.dims, values)];
    };
    const initializers = new Map([...model.graph.initializers, change('bad', 7, NaN), change('mask', 3, -Infinity)]);
    const result = await made({ ...model, graph: { ...model.graph, initializers } });
    assert.deepEqual([result.integer!.integerNodes, result.integer!.computeNodes], [2, 3]);
    assert.match(reasons(result), /its constant "bad" contains NaN or infinity/);
  });

  test('magnitudes around 1e±30, zero ranges, dead and faint channels', async () => {
    for (const factor of [1e-30, 1e28]) {
      const model = parseModel(`${HEAD}const v float32[64,64] ~2\nconst z float32[] 0\nh = MatMul(x, v)\nr = Relu(h)\nk = Mul(h, z)\nq = MatMul(k, w)\ns = MatMul(r, w)\ny = Add(s, q)\noutput y float32[N,64]`);
      const values = Float32Array.from(numbersOf(model.graph.initializers.get('v')!), (value, i) => (i % 64 === 5 ? 0 : i % 64 === 6 ? value * factor * 1e-9 : value * factor));
      const initializers = new Map(model.graph.initializers).set('v', tensorFromArray('float32', [64, 64], values)).set('z', float32Tensor(0));
      isGood(await made({ ...model, graph: { ...model.graph, initializers } }));
    }
  });

  test('a weight of denormal numbers stays in float, the others do not', async () => {
    const model = parseModel(`${HEAD}const v float32[64,64] ~2\nh = MatMul(x, w)\nfaint: y = MatMul(h, v)\noutput y float32[N,64]\noutput h float32[N,64]`);
    const values = Float32Array.from(numbersOf(model.graph.initializers.get('v')!), (value) => value * 1e-40);
    const initializers = new Map(model.graph.initializers).set('v', tensorFromArray('float32', [64, 64], values));
    for (const mode of ['static', 'dynamic'] as const) {
      const result = await made({ ...model, graph: { ...model.graph, initializers } }, X, mode === 'dynamic' ? { mode, method: undefined } : { mode });
      assert.deepEqual([result.integer!.integerNodes, result.integer!.computeNodes], [1, 2]);
      assert.match(result.nodes.find(({ name }) => name === 'faint')!.reason!, /its scale would be a denormal number/);
    }
  });

  test('doubles stay as they are, and the reason says so', async () => {
    const model = parseModel(`${HEAD}const v float64[64,64] ~2\nh = MatMul(x, w)\nd = Cast(h) to=11\ndouble: y = MatMul(d, v)\noutput y float64[N,64]`);
    for (const mode of ['static', 'dynamic'] as const) {
      const result = await made(model, X, mode === 'dynamic' ? { mode, method: undefined } : { mode });
      assert.deepEqual([result.integer!.integerNodes, result.integer!.computeNodes], [1, 2]);
      assert.match(result.nodes.find(({ name }) => name === 'double')!.reason!, /is float64, not float32/);
    }
  });

  test('less than 20 dB is a warning, in every effort', async () => {
    const text = `${HEAD}a = MatMul(x, w)\nb = Exp(a)\nc = Sub(b, b)\ny = MatMul(a, w)\nz = Sub(y, a)\nq = MatMul(z, w)\nd = Cos(q)\ne = Mul(d, q)\nf = Sin(e)\ng = Mul(f, e)\nh = Sin(g)\noutput h float32[N,64]`;
    const { check, warnings } = await made(text);
    const [sqnrDb] = Object.values(check!.simulatedSqnrDb);
    assert.ok(sqnrDb! < 20, `${sqnrDb} dB, so that this graph proves nothing`);
    assert.ok(warnings.some(({ code }) => code === 'low-sqnr' || code === 'collapsed-output'));
  });

  test('a result that is larger than the model says so', async () => {
    const { warnings, check } = await made(`${HEAD}y = MatMul(x, w)\noutput y float32[N,64]\noutput w float32[64,64]`);
    assert.ok(check!.sizeRatio > 1 && warnings.some(({ code }) => code === 'larger'));
  });
});

test('products written as Einsum run on integers: with a matrix, by groups, by heads', async () => {
  const text = `
    opset 13
    input x float32[N,16,4,32]
    const w float32[32,32] ~1
    const v float32[4,32,32] ~2
    matrix: a = Einsum(x, w) equation="btgi,ij->btgj"
    groups: b = Einsum(a, v) equation="btgi,gij->btgj"
    heads: y = Einsum(b, x) equation="bthd,bshd->bhts"
    output y float32[N,4,16,16]`;
  const result = await made(text, { x: noise([1, 16, 4, 32], 1) });
  assert.ok(!result.opTypes.includes('Einsum'));
  assert.deepEqual(result.integer!.nodes.map(({ name, opType }) => [name, opType]).sort(), [['groups', 'MatMul'], ['heads', 'MatMul'], ['matrix', 'MatMul']]);
  allIntegers(result);
  isGood(result);
});

describe('operator sets', () => {
  test('a model that cannot be raised is quantized where it stands', async () => {
    const text = `ir 5\nopset 10\ninput x float32[1,8,12,12]\nconst w float32[16,8,3,3] ~1\nconst v float32[16,16,3,3] ~2\nconst s float32[4] 1 1 0.5 2\na = Conv(x, w)\nb = Relu(a)\nc = Resize(b, s) mode="nearest"\nd = Conv(c, v)\ny = Relu(d)\noutput y float32[1,16,3,18]`;
    const result = await made(text, { x: noise([1, 8, 12, 12], 1) });
    assert.equal(result.written.opsets.get(''), 10);
    allIntegers(result);
    isGood(result);
    assert.ok(result.changes.some(({ message }) => /operator set 12 was not reached/.test(message)));
  });
});

test('all that these tests have written is valid for onnx.checker', { skip: noOnnxChecker }, () => {
  // The checker refuses some models that the runtime takes; what it refused before is not counted.
  const written = readdirSync(folder).filter((name) => name.endsWith('.q.onnx')).map((name) => join(folder, name));
  assert.ok(written.length > 8);
  const sources = checkerProblems(written.map((path) => path.replace('.q.onnx', '.onnx')));
  const problems = Object.entries(checkerProblems(written)).filter(([path]) => !(path.replace('.q.onnx', '.onnx') in sources));
  assert.deepEqual(problems, []);
});

test('a float model that gives NaN on a sample: which output, which sample', async () => {
  // The logarithm of what is negative is NaN, in float and on integers.
  const text = `${HEAD}output y float32[N,64]\noutput z float32[N,64]\nmm: y = MatMul(x, w)\nlog: z = Log(y)`;
  const { warnings, check } = await made(text);
  const found = warnings.filter(({ code, message }) => code === 'non-finite' && message.includes('output "z"'));
  assert.equal(found.length, 1);
  assert.match(found[0]!.message, /first in sample ".*\.npz"/);
  assert.deepEqual(check!.nonFinite.map(({ name }) => name), ['z']);
});
