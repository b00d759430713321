import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

/** The order of the rooms: each imports only from rows above its own. Rooms of one row do not import each other. */
const LAYERS: readonly (readonly string[])[] = [
  ['tensor'],
  ['graph'],
  ['onnx', 'passes'],
  ['runtime', 'metrics', 'data'],
  ['calibration', 'quantization', 'evaluation'],
  ['search'],
  ['verbs'],
  ['report'],
  ['commands'],
  ['bin'],
];

/** Files of `src` that every room may import. */
const SHARED = ['src/errors.ts', 'src/progress.ts', 'src/version.ts'];

/** Packages that only some places may import. Those not listed are free. */
const PACKAGES: Readonly<Record<string, RegExp>> = {
  protobufjs: /^src\/onnx\//,
  'onnxruntime-node': /^src\/runtime\//,
  'onnxruntime-web': /^src\/runtime\//,
  commander: /^commands\//,
  ora: /^commands\//,
  chalk: /^(commands\/|src\/report\/terminal\.ts$)/,
};

/** Files that are tables, and may be long. */
const TABLES = /^(src\/(onnx\/schema|passes\/opset-adapters|quantization\/operator-rules)|test\/.*-(cases|cases-\w+|patterns))\.ts$/;
const MAX_LINES = 400;

const root = findRoot(dirname(fileURLToPath(import.meta.url)));
const sources = filesBelow(['src', 'commands', 'bin'], /\.(ts|js|mjs)$/);
const imports = new Map(sources.map((file) => [file, importsOf(file)]));

describe('architecture', () => {
  test('the program is found', () => {
    assert.ok(sources.length > 50, `${sources.length} files`);
    assert.ok([...imports.values()].flat().length > sources.length, 'imports are read');
  });

  test('all ways of importing are seen', () => {
    const text = `
      import a, { type B } from './one.js';
      import type { C } from './two.js';
      export { d } from './three.js';
      export * from './four.js';
      export type { E } from './five.js';
      const f = await import('./six.js');
      type G = import('./seven.js').G;
      let h: typeof import('./eight.js');
      const i = require('./nine.js');
      const j = createRequire(import.meta.url)('./ten.js') as typeof import('./eleven.js');
      const url = new URL('./twelve.js', import.meta.url);
      // import './no.js'
      const text = "import './no.js'";`;
    const names = ['one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten', 'eleven', 'twelve'];
    assert.deepEqual(importsIn('example.ts', text), names.map((name) => `./${name}.js`));
  });

  test('every file belongs to a room of the table', () => {
    const rooms = new Set(LAYERS.flat());
    assert.deepEqual(sources.filter((file) => !rooms.has(roomOf(file)) && !SHARED.includes(file)), []);
  });

  test('rooms import in order', () => {
    const problems = eachImport((file, target) => {
      if (SHARED.includes(target)) return undefined;
      const [from, to] = [roomOf(file), roomOf(target)];
      if (SHARED.includes(file)) return 'which all rooms may import, imports a room';
      return from === to || layerOf(to) < layerOf(from) ? undefined : `${from} must not import ${to}`;
    });
    assert.deepEqual(problems, []);
  });

  test('relative imports lead to files of the program', () => {
    const lost = [...imports].flatMap(([file, list]) =>
      list.filter((specifier) => specifier.startsWith('.') && !resolved(file, specifier)).map((specifier) => `${file}: ${specifier}`),
    );
    assert.deepEqual(lost, []);
  });

  for (const [name, allowed] of Object.entries(PACKAGES)) {
    test(`${name} is imported only in its place`, () => {
      const users = sources.filter((file) => imports.get(file)!.some((specifier) => packageOf(specifier) === name));
      assert.deepEqual(users.filter((file) => !allowed.test(file)), []);
    });
  }

  test('what may not be installed is imported when it is asked for, and not before', () => {
    const users = sources.filter((file) => imports.get(file)!.includes('onnxruntime-web'));
    assert.deepEqual(users, ['src/runtime/web-binding.ts']);
    assert.doesNotMatch(readFileSync(join(root, users[0]!), 'utf8'), /^(import|export) (?!type ).* from 'onnxruntime-web'/m);
  });

  test('every package imported is a dependency', () => {
    const { dependencies, peerDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Record<'dependencies' | 'peerDependencies', Record<string, string>>;
    const used = new Set([...imports.values()].flat().map(packageOf));
    const named = Object.keys({ ...dependencies, ...peerDependencies });
    assert.deepEqual([...used].filter((name) => name !== undefined && name !== 'qdq' && !named.includes(name)), []);
    assert.deepEqual(named.filter((name) => !used.has(name)), [], 'dependencies that nothing imports');
  });

  test('files do not import each other in a circle', () => {
    assert.deepEqual(cycles(), []);
  });

  test(`no file is longer than ${MAX_LINES} lines, except for tables`, () => {
    const long = filesBelow(['src', 'commands', 'bin', 'bench', 'test'], /\.(ts|js|mjs)$/).filter((file) => !TABLES.test(file) && lineCount(file) > MAX_LINES);
    assert.deepEqual(long.map((file) => `${file}: ${lineCount(file)}`), []);
  });

  test('no file names a place on one machine', () => {
    const places = new RegExp(['work', 'home', 'Users', 'root', 'farm'].map((folder) => `(^|[^\\w.~-])/${folder}/`).join('|'));
    const files = filesBelow(['src', 'commands', 'bin', 'bench', 'test', 'samples', '.ci'], /(\.(ts|js|mjs|py|sh|md|json|txt)|Makefile|\/run)$/);
    const rootFiles = readdirSync(root).filter((name) => /^(Makefile|.*\.(md|js|json))$/.test(name) && name !== 'package-lock.json');
    const named = [...files, ...rootFiles].filter((file) => readFileSync(join(root, file), 'utf8').split('\n').some((line) => places.test(line)));
    assert.deepEqual(named, []);
  });
});

function findRoot(folder: string): string {
  return existsSync(join(folder, 'package.json')) ? folder : findRoot(dirname(folder));
}

function filesBelow(folders: readonly string[], pattern: RegExp): string[] {
  return folders
    .filter((folder) => existsSync(join(root, folder)))
    .flatMap((folder) => readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map((name) => join(folder, name).replaceAll('\\', '/')))
    .filter((file) => pattern.test(file) && !file.includes('node_modules/'))
    .sort();
}

function lineCount(file: string): number {
  return readFileSync(join(root, file), 'utf8').trimEnd().split('\n').length;
}

/** `src/graph/model.ts` is of room graph, a file directly in `src` of the verbs, `commands/main.ts` of commands. */
function roomOf(file: string): string {
  const [top = '', second = '', third] = file.split('/');
  return top !== 'src' ? top : third === undefined ? 'verbs' : second;
}

function layerOf(room: string): number {
  const layer = LAYERS.findIndex((rooms) => rooms.includes(room));
  return layer < 0 ? Infinity : layer;
}

function importsOf(file: string): string[] {
  return importsIn(file, readFileSync(join(root, file), 'utf8'));
}

/** Specifiers of static and dynamic imports, re-exports, types by `import()`, `require` and its makers, and files named by `new URL`. */
function importsIn(file: string, text: string): string[] {
  const found: string[] = [];
  const add = (node: ts.Node | undefined) => {
    if (node && ts.isStringLiteralLike(node)) found.push(node.text);
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) add(node.moduleSpecifier);
    else if (ts.isExportDeclaration(node)) add(node.moduleSpecifier);
    else if (ts.isImportTypeNode(node)) add(ts.isLiteralTypeNode(node.argument) ? node.argument.literal : undefined);
    else if (ts.isCallExpression(node) && isImporting(node.expression)) add(node.arguments[0]);
    else if (ts.isNewExpression(node) && node.expression.getText() === 'URL' && node.arguments?.[1]?.getText() === 'import.meta.url') {
      if (/\.js['"`]$/.test(node.arguments[0]?.getText() ?? '')) add(node.arguments[0]);
    }
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true));
  return found;
}

function isImporting(callee: ts.Expression): boolean {
  if (callee.kind === ts.SyntaxKind.ImportKeyword) return true;
  if (ts.isIdentifier(callee)) return callee.text === 'require';
  return ts.isCallExpression(callee) && callee.expression.getText() === 'createRequire';
}

function packageOf(specifier: string): string | undefined {
  if (specifier.startsWith('.') || specifier.startsWith('node:')) return undefined;
  return specifier.split('/').slice(0, specifier.startsWith('@') ? 2 : 1).join('/');
}

/** The file that a relative specifier means, where it is one of the program. What dist/cli has of a command is bundled from it. */
function resolved(file: string, specifier: string): string | undefined {
  if (!specifier.startsWith('.')) return undefined;
  const target = relative(root, resolve(root, dirname(file), specifier)).replaceAll('\\', '/').replace(/^dist\/cli\//, 'commands/');
  return [target, target.replace(/\.js$/, '.ts')].find((candidate) => imports.has(candidate));
}

function eachImport(problemOf: (file: string, target: string) => string | undefined): string[] {
  return [...imports].flatMap(([file, list]) =>
    list.flatMap((specifier) => {
      const target = resolved(file, specifier);
      const problem = target === undefined ? undefined : problemOf(file, target);
      return problem === undefined ? [] : [`${file} → ${target}: ${problem}`];
    }),
  );
}

/** Circles of files, type-only imports included, each once, from its alphabetically first file. */
function cycles(): string[] {
  const found = new Set<string>();
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (file: string): void => {
    const at = path.indexOf(file);
    if (at >= 0) {
      const circle = path.slice(at);
      const first = circle.indexOf([...circle].sort()[0]!);
      found.add([...circle.slice(first), ...circle.slice(0, first + 1)].join(' → '));
      return;
    }
    if (done.has(file)) return;
    path.push(file);
    for (const specifier of imports.get(file)!) {
      const target = resolved(file, specifier);
      if (target !== undefined && target !== file) visit(target);
    }
    path.pop();
    done.add(file);
  };
  sources.forEach(visit);
  return [...found];
}
