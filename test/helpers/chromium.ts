import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome'];

/** Path of a Chromium: `CHROMIUM_PATH`, or one on the PATH; undefined where there is none. */
export function findChromium(): string | undefined {
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  const candidates = [process.env['CHROMIUM_PATH'], ...NAMES.flatMap((name) => folders.map((folder) => join(folder, name)))];
  return candidates.find((path) => path !== undefined && path !== '' && existsSync(path));
}

/** For `skip` of tests that need a browser: false where there is one, otherwise the reason. */
export const noChromium: string | false = findChromium() === undefined ? `no ${NAMES.join(', ')} on the PATH; set CHROMIUM_PATH` : false;

/** What a page of a test asks of its server: the answer's body and type; undefined where there is no such place. */
export type Serve = (path: string) => Promise<{ readonly type: string; readonly body: string | Uint8Array } | undefined>;

/**
 * Opens `/` of a local server in a headless Chromium and gives back what the page posts to `/result`, as JSON. The browser and its profile are gone
 * when it returns. Throws where the page posts nothing in time.
 */
export async function pageResult<Result>(serve: Serve, timeoutMs: number): Promise<Result> {
  const profile = mkdtempSync(join(tmpdir(), 'qdq-chromium-'));
  let give: (result: Result) => void;
  const result = new Promise<Result>((resolve) => (give = resolve));
  const server = createServer((request, response) => void answer(request, response, serve, (text) => give(JSON.parse(text) as Result)));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  // Its helpers are of one process group with it.
  const flags = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run', '--disable-background-networking', `--user-data-dir=${profile}`];
  const browser = spawn(findChromium()!, [...flags, `http://127.0.0.1:${port}/`], { stdio: 'ignore', detached: true });
  const ended = once(browser, 'exit').then(([code]) => {
    throw new Error(`the browser ended with ${code} before the page had a result`);
  });
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => (timer = setTimeout(() => reject(new Error(`the page has no result after ${timeoutMs} ms`)), timeoutMs)));
  try {
    return await Promise.race([result, ended, late]);
  } finally {
    clearTimeout(timer);
    ended.catch(() => undefined);
    if (browser.exitCode === null && browser.signalCode === null) {
      process.kill(-browser.pid!, 'SIGKILL');
      await once(browser, 'exit');
    }
    server.closeAllConnections();
    server.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}

async function answer(request: IncomingMessage, response: ServerResponse, serve: Serve, onResult: (text: string) => void): Promise<void> {
  const path = new URL(request.url ?? '/', 'http://localhost').pathname;
  if (request.method === 'POST' && path === '/result') {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    response.end();
    onResult(Buffer.concat(chunks).toString());
    return;
  }
  const found = await serve(path);
  response.writeHead(found ? 200 : 404, { 'content-type': found?.type ?? 'text/plain' });
  response.end(found?.body ?? 'not here');
}
