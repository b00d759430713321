import { createHash } from 'node:crypto';
import { createNode } from '../../src/graph/graph-editor.js';
import type { Attribute, Dim, Graph, Model, Node, ValueInfo, ValueType } from '../../src/graph/model.js';
import type { DType } from '../../src/tensor/dtype.js';
import { arrayConstructor, elementCount, tensorFromArray, type Tensor, typedArrayOf, type TypedArray } from '../../src/tensor/tensor.js';
import { numbersOf } from '../../src/tensor/values.js';
import { seeded } from '../metrics/seeded.js';

/*
 * Models as text, for tests. One thing a line; the lines of a body are indented under the node and its attribute:
 *
 *   ir 8 / opset 13 / opset com.microsoft 1
 *   input x float32[N,3]          output y          info t float32[?,3]
 *   const w float32[3,2] 1 2 3 4 5 6       const v float32[64,64] ~7    (uniform in -1 … 1 from seed 7)
 *   name: y, , z = domain::Op(a, , b) axis=1 alpha=0.5 pads=[0,1] scales=[1.0,2.0] mode="linear" value=int64[2](1 2)
 *     then_branch:
 *       …
 */

/** The model that a text describes; IR version 8 and operator set 13 where it does not say. */
export function parseModel(text: string): Model {
  const lines = text.split('\n').filter((line) => line.trim() && !line.trim().startsWith('#'));
  const irVersion = Number(lines.map((line) => /^\s*ir (\d+)/.exec(line)?.[1]).find(Boolean) ?? 8);
  const opsets = lines.flatMap((line): [string, number][] => {
    const match = /^\s*opset (?:(\S+) )?(\d+)/.exec(line);
    return match ? [[match[1] ?? '', Number(match[2])]] : [];
  });
  return {
    irVersion,
    opsets: new Map(opsets.length > 0 ? opsets : [['', 13]]),
    producer: 'test',
    metadata: new Map(),
    graph: parseGraph(lines.filter((line) => !/^\s*(ir|opset) /.test(line)), 'main'),
    functions: [],
  };
}

/** The text of a model, as `parseModel` reads it; constants of more than eight elements are shown by a digest. */
export function printModel(model: Model): string {
  const opsets = [...model.opsets].map(([domain, version]) => `opset ${domain ? `${domain} ` : ''}${version}`);
  return [`ir ${model.irVersion}`, ...opsets, ...printGraph(model.graph)].join('\n');
}

/** The text of a graph. */
export function printGraph(graph: Graph): string[] {
  return [
    ...graph.inputs.map((value) => `input ${valueText(value)}`),
    ...graph.sparseInitializers.map((name) => `sparse ${name}`),
    ...[...graph.initializers].map(([name, tensor]) => `const ${name} ${tensorText(tensor)}`),
    ...graph.valueInfo.map((value) => `info ${valueText(value)}`),
    ...graph.nodes.flatMap(printNode),
    ...graph.outputs.map((value) => `output ${valueText(value)}`),
  ];
}

function printNode(node: Node): string[] {
  const plain = [...node.attributes].filter(([, attribute]) => attribute.kind !== 'graph');
  const bodies = [...node.attributes].flatMap(([name, attribute]) =>
    attribute.kind === 'graph' ? [`  ${name}:`, ...printGraph(attribute.value).map((line) => `    ${line}`)] : [],
  );
  const label = node.name ? `${node.name}: ` : '';
  const operator = `${node.domain ? `${node.domain}::` : ''}${node.opType}(${node.inputs.join(', ')})`;
  const attributes = plain.map(([name, attribute]) => ` ${name}=${attributeText(attribute)}`).join('');
  return [`${label}${node.outputs.join(', ')} = ${operator}${attributes}`, ...bodies];
}

function valueText({ name, type }: ValueInfo): string {
  if (type.kind === 'none') return name;
  if (type.kind !== 'tensor') return `${name} ${type.kind}`;
  return `${name} ${type.dtype}${type.shape ? `[${type.shape.map((dim) => dim ?? '?').join(',')}]` : ''}`;
}

function tensorText(tensor: Tensor): string {
  const type = `${tensor.dtype}[${tensor.dims.join(',')}]`;
  if (tensor.strings) return `${type} ${tensor.strings.map((text) => JSON.stringify(text)).join(' ')}`;
  const values = elementCount(tensor.dims) > 8 ? [`#${digest(tensor)}`] : elements(tensor);
  return [type, ...values].join(' ');
}

function elements(tensor: Tensor): string[] {
  return tensor.dtype === 'int64' ? Array.from(typedArrayOf(tensor), String) : Array.from(numbersOf(tensor), floatText);
}

function digest(tensor: Tensor): string {
  return createHash('sha256').update(tensor.storage.read()).digest('hex').slice(0, 8);
}

function attributeText(attribute: Attribute): string {
  switch (attribute.kind) {
    case 'int':
      return String(attribute.value);
    case 'float':
      return withPoint(attribute.value);
    case 'string':
      return JSON.stringify(attribute.value);
    case 'ints':
      return `[${attribute.value.join(',')}]`;
    case 'floats':
      return `[${attribute.value.map(withPoint).join(',')}]`;
    case 'strings':
      return `[${attribute.value.map((text) => JSON.stringify(text)).join(',')}]`;
    case 'tensor':
      return `${attribute.value.dtype}[${attribute.value.dims.join(',')}](${elements(attribute.value).join(' ')})`;
    default:
      return `<${attribute.kind}>`;
  }
}

/** The number rounded to float32, as the shortest text that is the same float32. */
function floatText(value: number): string {
  const float = Math.fround(value);
  const digits = [6, 7, 8, 9].find((count) => Math.fround(Number(float.toPrecision(count))) === float);
  return String(digits === undefined ? float : Number(float.toPrecision(digits)));
}

function withPoint(value: number): string {
  const text = floatText(value);
  return /^-?\d+$/.test(text) ? `${text}.0` : text;
}

function parseGraph(lines: readonly string[], name: string): Graph {
  const graph = {
    name,
    nodes: [] as Node[],
    initializers: new Map<string, Tensor>(),
    sparseInitializers: [] as string[],
    inputs: [] as ValueInfo[],
    outputs: [] as ValueInfo[],
    valueInfo: [] as ValueInfo[],
  };
  const lists: Record<string, ValueInfo[]> = { input: graph.inputs, output: graph.outputs, info: graph.valueInfo };
  for (let at = 0; at < lines.length; ) {
    const line = lines[at]!;
    let end = at + 1;
    while (end < lines.length && indentOf(lines[end]!) > indentOf(line)) end++;
    const [keyword = '', value = '', type = '', ...rest] = line.trim().split(/ +/);
    if (keyword === 'const') graph.initializers.set(value, parseTensor(type, rest));
    else if (keyword === 'sparse') graph.sparseInitializers.push(value);
    else if (lists[keyword]) lists[keyword].push({ name: value, type: parseType(type) });
    else graph.nodes.push(parseNode(line.trim(), lines.slice(at + 1, end)));
    at = end;
  }
  return graph;
}

function parseNode(line: string, below: readonly string[]): Node {
  const match = /^(?:([^\s,()=]+): )?(.*?) ?= (?:([\w.]+)::)?(\w+)\((.*?)\)(.*)$/.exec(line);
  if (!match) throw new SyntaxError(`not a node: ${line}`);
  const [, name = '', outputs = '', domain = '', opType = '', inputs = '', rest = ''] = match;
  const list = (text: string) => (text.trim() ? text.split(',').map((part) => part.trim()) : []);
  const attributes: Record<string, Attribute> = {};
  for (const [, key, text] of rest.matchAll(/(\w+)=("[^"]*"|\[[^\]]*\]|\w+\[[^\]]*\]\([^)]*\)|\S+)/g)) attributes[key!] = parseAttribute(text!);
  for (let at = 0; at < below.length; ) {
    const head = below[at]!;
    let end = at + 1;
    while (end < below.length && indentOf(below[end]!) > indentOf(head)) end++;
    const key = head.trim().replace(/:$/, '');
    attributes[key] = { kind: 'graph', value: parseGraph(below.slice(at + 1, end), key) };
    at = end;
  }
  return createNode({ name, opType, domain, inputs: list(inputs), outputs: list(outputs), attributes });
}

function parseAttribute(text: string): Attribute {
  const tensor = /^(\w+\[[^\]]*\])\((.*)\)$/.exec(text);
  if (tensor) return { kind: 'tensor', value: parseTensor(tensor[1]!, tensor[2]!.split(' ').filter(Boolean)) };
  if (text.startsWith('"')) return { kind: 'string', value: JSON.parse(text) as string };
  if (text.startsWith('["')) return { kind: 'strings', value: JSON.parse(text) as string[] };
  const isInteger = (part: string) => /^-?\d+$/.test(part);
  if (!text.startsWith('[')) return isInteger(text) ? { kind: 'int', value: integer(text) } : { kind: 'float', value: Number(text) };
  const parts = text.slice(1, -1).split(',').filter(Boolean);
  return parts.every(isInteger) ? { kind: 'ints', value: parts.map(integer) } : { kind: 'floats', value: parts.map(Number) };
}

function integer(text: string): number | bigint {
  return Number.isSafeInteger(Number(text)) ? Number(text) : BigInt(text);
}

function parseType(text: string): ValueType {
  const match = /^(\w+)(?:\[(.*)\])?$/.exec(text);
  if (!match) return { kind: 'none' };
  const dtype = match[1] as DType;
  if (match[2] === undefined) return { kind: 'tensor', dtype };
  const dims = match[2].split(',').filter(Boolean);
  return { kind: 'tensor', dtype, shape: dims.map((dim): Dim => (dim === '?' ? null : /^\d+$/.test(dim) ? Number(dim) : dim)) };
}

function parseTensor(typeText: string, values: readonly string[]): Tensor {
  const type = parseType(typeText);
  if (type.kind !== 'tensor' || !type.shape) throw new SyntaxError(`not a tensor type: ${typeText}`);
  const dims = type.shape.map(Number);
  if (type.dtype === 'string') {
    return { dtype: 'string', dims, storage: tensorFromArray('uint8', [0], new Uint8Array()).storage, strings: values.map((text) => JSON.parse(text) as string) };
  }
  return tensorFromArray(type.dtype, dims, values[0]?.startsWith('~') ? randomArray(type.dtype, elementCount(dims), Number(values[0].slice(1))) : arrayOf(type.dtype, values));
}

function arrayOf(dtype: DType, values: readonly string[]): TypedArray {
  if (dtype === 'int64') return BigInt64Array.from(values, BigInt);
  return (arrayConstructor(dtype) as unknown as { from(values: Iterable<number>): TypedArray }).from(values.map(Number));
}

/** Repeatable elements: floats uniform in -1 … 1, integers in 0 … 3, booleans. */
export function randomArray(dtype: DType, count: number, seed: number): TypedArray {
  const next = seeded(seed);
  const isFloatArray = dtype === 'float32' || dtype === 'float64';
  const limit = dtype === 'bool' ? 2 : 4;
  const values = Array.from({ length: count }, () => (isFloatArray ? 2 * next() - 1 : Math.floor(limit * next())));
  return arrayOf(dtype, values.map(String));
}

function indentOf(line: string): number {
  return line.length - line.trimStart().length;
}
