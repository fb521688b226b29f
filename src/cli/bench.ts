// `millrace bench`: the benchmark of a clone. A package installed as a library does not carry it.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { EngineError } from '../core/errors.ts'

export async function bench(args: string[]): Promise<void> {
  const root = fileURLToPath(new URL('../..', import.meta.url))
  const entry = `${root}bench/run.ts`
  if (!existsSync(entry) || !existsSync(`${root}node_modules/tsx`)) {
    throw new EngineError('E_SETUP', 'the benchmark is part of a clone of the repository: clone it, then `npm run bench`')
  }
  const child = spawn(process.execPath, ['--import', 'tsx', entry, ...args], { cwd: root, stdio: 'inherit' })
  process.on('SIGINT', () => {}) // the terminal sent it to the benchmark too, which cleans up
  process.on('SIGTERM', () => child.kill('SIGTERM'))
  const [exitCode] = (await once(child, 'exit')) as [number | null]
  process.exitCode = exitCode ?? 1
}
