import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { checkGraph } from '../../src/graph/check-graph.js';
import { createNode, GraphEditor, renameInputs, tensorTypeText } from '../../src/graph/graph-editor.js';
import type { Graph } from '../../src/graph/model.js';
import { Names } from '../../src/graph/names.js';
import { float32Tensor } from '../../src/tensor/tensor.js';
import { parseModel, printGraph } from '../helpers/graph-text.js';

const op = (opType: string, inputs: readonly string[], output: string) => createNode({ name: '', opType, inputs, outputs: [output] });
const shows = (graph: Graph, text: string) => assert.deepEqual(printGraph(graph), printGraph(parseModel(text).graph));

/** The graph after edits, which must be valid and must not have changed the graph given. */
function edited(text: string, edit: (editor: GraphEditor, graph: Graph) => void): Graph {
  const { graph } = parseModel(text);
  const editor = new GraphEditor(graph);
  edit(editor, graph);
  const result = editor.finish();
  shows(graph, text);
  assert.deepEqual(checkGraph(result), []);
  return result;
}

const CHAIN = 'input x float32[2]\na = Neg(x)\nb = Abs(a)\ny = Exp(b)\noutput y';

describe('GraphEditor', () => {
  test('without edits the parts stay the same objects', () => {
    const { graph } = parseModel(CHAIN);
    const same = new GraphEditor(graph).finish();
    assert.deepEqual(same, graph);
    graph.nodes.forEach((node, i) => assert.equal(same.nodes[i], node));
  });

  test('replace: other nodes, none, and nodes around it', () => {
    const result = edited(CHAIN, (editor, { nodes }) => {
      editor.replace(nodes[1]!, op('Relu', ['a'], 'r'), op('Sqrt', ['r'], 'b'));
      assert.deepEqual(nodes.map((node) => editor.isReplaced(node)), [false, true, false]);
    });
    shows(result, 'input x float32[2]\na = Neg(x)\nr = Relu(a)\nb = Sqrt(r)\ny = Exp(b)\noutput y');
  });

  test('add: nodes go where their inputs are ready', () => {
    const result = edited(CHAIN, (editor, { nodes }) => {
      editor.replace(nodes[2]!, op('Add', ['late', 'b'], 'y'));
      editor.add(op('Abs', ['early'], 'late'), op('Sqrt', ['x'], 'early'));
    });
    shows(result, 'input x float32[2]\na = Neg(x)\nb = Abs(a)\nearly = Sqrt(x)\nlate = Abs(early)\ny = Add(late, b)\noutput y');
  });

  test('constants: added under free names, overwritten in place', () => {
    const result = edited('input x float32[1]\nconst w float32[1] 1\nconst v float32[1] 2\na = Add(x, w)\ny = Add(a, v)\noutput y', (editor, { nodes }) => {
      editor.setInitializer('w', float32Tensor([5]));
      const name = editor.addInitializer('v', float32Tensor([6]));
      assert.equal(name, 'v_1');
      editor.replace(nodes[1]!, op('Add', ['a', name], 'y'));
    });
    shows(result, 'input x float32[1]\nconst w float32[1] 5\nconst v_1 float32[1] 6\na = Add(x, w)\ny = Add(a, v_1)\noutput y');
  });

  test('finish drops constants that lost their last reader, and new ones without any', () => {
    const text = 'input x float32[1]\nconst lost float32[1] 1\nconst spare float32[1] 2\nconst handed float32[1] 3\na = Add(x, lost)\ny = Neg(a)\noutput y\noutput handed';
    const result = edited(text, (editor, { nodes }) => {
      editor.replace(nodes[0]!, op('Abs', ['x'], 'a'));
      editor.addInitializer('unread', float32Tensor(1));
    });
    shows(result, 'input x float32[1]\nconst spare float32[1] 2\nconst handed float32[1] 3\na = Abs(x)\ny = Neg(a)\noutput y\noutput handed');
  });

  test('finish keeps a constant that a body still reads', () => {
    const text = `
      input x float32[1]
      input c bool[]
      const w float32[1] 1
      a = Add(x, w)
      y = If(c)
        then_branch:
          t = Add(x, w)
          output t
        else_branch:
          e = Neg(x)
          output e
      output y`;
    const result = edited(text, (editor, { nodes }) => editor.replace(nodes[0]!));
    assert.deepEqual([...result.initializers.keys()], ['w']);
  });

  test('finish keeps the default of an input: callers may leave that out', () => {
    const result = edited('input x float32[1]\ninput w float32[1]\nconst w float32[1] 1\na = Add(x, w)\ny = Neg(x)\noutput y', (editor, { nodes }) =>
      editor.replace(nodes[0]!),
    );
    assert.deepEqual([...result.initializers.keys()], ['w']);
  });

  test('removeInputs', () => {
    const result = edited('input x float32[1]\ninput w float32[1]\nconst w float32[1] 1\ny = Add(x, w)\noutput y', (editor) => editor.removeInputs(new Set(['w'])));
    shows(result, 'input x float32[1]\nconst w float32[1] 1\ny = Add(x, w)\noutput y');
  });

  test('renameUses: readers everywhere, chains, and added nodes; graph outputs keep their names', () => {
    const result = edited('input x float32[1]\na = Neg(x)\nb = Abs(a)\nc = Add(a, b)\noutput a\noutput c', (editor) => {
      editor.renameUses('a', 'b');
      editor.renameUses('b', 'x');
      editor.add(op('Exp', ['a'], 'd'));
    });
    shows(result, 'input x float32[1]\na = Neg(x)\nb = Abs(x)\nc = Add(x, x)\nd = Exp(x)\noutput a\noutput c');
  });

  test('renameUses: captures of bodies, but not what a body itself defines', () => {
    const result = edited(
      `
      input x float32[1]
      input c bool[]
      a = Neg(x)
      y = If(c)
        then_branch:
          t = Abs(a)
          u = If(c)
            then_branch:
              v = Add(a, t)
              output v
            else_branch:
              w = Neg(t)
              output w
          output u
        else_branch:
          e = Exp(x)
          output e
      output y`,
      (editor, { nodes }) => {
        editor.replace(nodes[0]!);
        editor.renameUses('a', 'x');
        editor.renameUses('t', 'never');
      },
    );
    shows(
      result,
      `
      input x float32[1]
      input c bool[]
      y = If(c)
        then_branch:
          t = Abs(x)
          u = If(c)
            then_branch:
              v = Add(x, t)
              output v
            else_branch:
              w = Neg(t)
              output w
          output u
        else_branch:
          e = Exp(x)
          output e
      output y`,
    );
  });

  test('renameUses: bodies that do not read the value stay the same objects', () => {
    const { graph } = parseModel('input x float32[1]\ninput c bool[]\na = Neg(x)\ny = If(c)\n  then_branch:\n    t = Abs(x)\n    output t\nz = Abs(a)\noutput y\noutput z');
    const editor = new GraphEditor(graph);
    editor.renameUses('a', 'x');
    assert.equal(editor.finish().nodes[1], graph.nodes[1]);
  });

  test('names of the graph around are stepped over in a body', () => {
    const { graph } = parseModel('input x float32[1]\nconst taken float32[1] 1\ny = If(x)\n  then_branch:\n    t = Abs(x)\n    output t\noutput y');
    const attribute = graph.nodes[0]!.attributes.get('then_branch');
    assert.ok(attribute?.kind === 'graph');
    assert.equal(new GraphEditor(attribute.value, new Names(graph)).addInitializer('taken', float32Tensor(1)), 'taken_1');
  });

  test('a cycle is reported', () => {
    const { graph } = parseModel(CHAIN);
    const editor = new GraphEditor(graph);
    editor.replace(graph.nodes[0]!, createNode({ name: 'back', opType: 'Neg', inputs: ['b'], outputs: ['a'] }));
    assert.throws(() => editor.finish(), new RangeError('the graph has a cycle through Neg "back" (value "a")'));
  });

  test('a chain of 50,000 nodes, each replaced by six, and 200,000 nodes added at once', () => {
    const { graph } = parseModel('input x float32[1]\noutput v49999');
    const nodes = Array.from({ length: 50_000 }, (_, i) => op('Neg', [i ? `v${i - 1}` : 'x'], `v${i}`));
    const editor = new GraphEditor({ ...graph, nodes });
    nodes.forEach((node, i) => {
      const steps = Array.from({ length: 5 }, (_, k) => op('Abs', [k ? `s${i}_${k - 1}` : node.inputs[0]!], `s${i}_${k}`));
      editor.replace(node, ...steps, op('Neg', [`s${i}_4`], `v${i}`));
    });
    editor.add(...Array.from({ length: 100_000 }, (_, i) => op('Exp', ['x'], `e${i}`)));
    for (let i = 0; i < 100_000; i++) editor.add(op('Exp', ['x'], `f${i}`));
    editor.renameUses('x', 'x2');
    editor.add(op('Identity', [], 'x2'));
    assert.equal(editor.finish().nodes.length, 500_001);
  });

  test('renameUses: a chain of 50,000', () => {
    const { graph } = parseModel('input x float32[1]\ny = Neg(v49999)\noutput y');
    const editor = new GraphEditor(graph);
    for (let i = 0; i < 50_000; i++) editor.renameUses(`v${i}`, i ? `v${i - 1}` : 'x');
    shows(editor.finish(), 'input x float32[1]\ny = Neg(x)\noutput y');
  });
});

test('renameInputs: the same node where nothing is renamed', () => {
  const [node] = parseModel('y = Add(a, , b)').graph.nodes;
  assert.equal(renameInputs(node!, (value) => value), node);
  assert.deepEqual(renameInputs(node!, (value) => (value === 'a' ? 'c' : value)).inputs, ['c', '', 'b']);
});

test('tensorTypeText', () => {
  assert.deepEqual([tensorTypeText(float32Tensor([1, 2])), tensorTypeText(float32Tensor(1))], ['float32[2]', 'float32[]']);
});
