/**
 * Joins what the command line loads into a few files in dist/cli: Node takes longer to find and load hundreds of small modules than to run them.
 * Reads what tsc wrote to dist. The library's own modules stay as they are.
 */
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = join(root, 'dist');
const target = join(dist, 'cli');

/** Native, or only there where a user installed it. */
const EXTERNAL = ['onnxruntime-node', 'onnxruntime-web', 'sharp'];

/** Processes and threads begin with these. */
const ENTRIES = ['commands/start.js', 'src/runtime/child.js', 'src/calibration/collect-worker.js', 'src/quantization/work-thread.js'];

/** Tasks and work are looked up in the module whose address they were declared with; in the bundle one module exports all of a kind. */
const DECLARATION = /(define(Task|Work)\(\s*)import\.meta\.url/g;
const KINDS = { Task: './tasks.js', Work: './works.js' };

/** What a command loads when it runs: joined too, because a file for each of these modules would leave only splinters to be shared. */
const LAZY_IMPORT = /import\('(\.\.\/src\/[^']+)'\)/g;

const modules = ['src', 'commands'].flatMap((folder) =>
  readdirSync(join(dist, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.js'))
    .map((name) => `${folder}/${name.replaceAll('\\', '/')}`),
);
const textOf = (module) => readFileSync(join(dist, module), 'utf8');
const declaring = (kind) => modules.filter((module) => [...textOf(module).matchAll(DECLARATION)].some((match) => match[2] === kind));
const lazy = new Set(modules.filter((module) => module.startsWith('commands/')).flatMap((module) => [...textOf(module).matchAll(LAZY_IMPORT)].map(([, path]) => path.replace('../', ''))));

/** Modules that only pass on the exports of others. */
const JOINED = { tasks: declaring('Task'), works: declaring('Work'), verbs: [...lazy] };

const joinModules = {
  name: 'join-modules',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^joined:/ }, ({ path }) => ({ path: path.slice('joined:'.length), namespace: 'joined' }));
    onLoad({ filter: /.*/, namespace: 'joined' }, ({ path }) => ({
      contents: JOINED[path].map((module) => `export * from './${module}';`).join('\n'),
      resolveDir: dist,
    }));
    onResolve({ filter: /^\.\.\/src\// }, ({ kind }) => (kind === 'dynamic-import' ? { path: './verbs.js', external: true } : undefined));
    // The child process loads what tasks need while its parent reads the model.
    onLoad({ filter: /[\\/]runtime[\\/]child\.js$/ }, ({ path }) => ({ contents: `${readFileSync(path, 'utf8')}import('joined:tasks');\n` }));
    onLoad({ filter: /[\\/]dist[\\/]src[\\/].*\.js$/ }, ({ path }) => ({
      contents: readFileSync(path, 'utf8').replace(DECLARATION, (_, call, kind) => `${call}new URL('${KINDS[kind]}', import.meta.url).href`),
    }));
  },
};

rmSync(target, { recursive: true, force: true });
const { metafile } = await build({
  entryPoints: [...ENTRIES.map((entry) => join(dist, entry)), ...Object.keys(JOINED).map((name) => ({ in: `joined:${name}`, out: name }))],
  outdir: target,
  entryNames: '[name]',
  chunkNames: 'shared-[hash]',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  external: EXTERNAL,
  // Names stay, for stacks that can be read.
  minifySyntax: true,
  minifyWhitespace: true,
  legalComments: 'none',
  // CommonJS packages among the dependencies ask for Node's own modules.
  banner: { js: "import{createRequire as requireFrom}from'node:module';const require=requireFrom(import.meta.url);" },
  logOverride: { 'ambiguous-reexport': 'error' },
  plugins: [joinModules],
  metafile: true,
  absWorkingDir: root,
});
writeFileSync(join(target, 'LICENSES.txt'), licensesOf(Object.keys(metafile.inputs)));

/** The licenses of the packages that became part of the bundle. */
function licensesOf(inputs) {
  const folders = new Set(inputs.flatMap((input) => /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(input) ?? []));
  return [...folders]
    .sort()
    .map((folder) => {
      const { name, version } = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'));
      const license = readdirSync(join(root, folder)).find((file) => /^licen[cs]e/i.test(file));
      if (license === undefined) throw new Error(`${name} has no license file`);
      return `${name} ${version}\n\n${readFileSync(join(root, folder, license), 'utf8').trim()}\n`;
    })
    .join(`\n${'-'.repeat(80)}\n\n`);
}
