import { createHash, randomBytes } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';

/** Says whose temporary files are whose: process numbers are those of one machine, and folders may be shared between machines. */
const MACHINE = createHash('sha256').update(hostname()).digest('hex').slice(0, 8);

/** Start of the names of this process's temporary files and folders. */
export const TEMPORARY_PREFIX = `qdq-${MACHINE}-${process.pid}-`;

const TEMPORARY = new RegExp(`^\\.?qdq-${MACHINE}-(\\d+)-\\w+(?:\\.tmp)?$`);

/** A name for a temporary file of this process that no other file has. */
export function temporaryFileName(): string {
  return `.${TEMPORARY_PREFIX}${randomBytes(6).toString('hex')}.tmp`;
}

/** Removes the temporary files and folders of processes of this machine that were killed before they could. What cannot be removed stays. */
export async function removeAbandoned(folder: string): Promise<void> {
  const names = await readdir(folder).catch(() => []);
  const abandoned = names.filter((name) => {
    const pid = TEMPORARY.exec(name)?.[1];
    return pid !== undefined && !isAlive(Number(pid));
  });
  await Promise.all(abandoned.map((name) => rm(join(folder, name), { recursive: true, force: true }).catch(() => undefined)));
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // A process of another user may not be asked, but is there.
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}
