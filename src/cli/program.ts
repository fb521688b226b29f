// The shape all commands share: the options of client commands, and lists given more than once.
import { readFileSync } from 'node:fs'
import type { Command } from 'commander'
import { withSettings, type SettingName } from './settings.ts'

export type GivenSettings = Partial<Record<SettingName, string>>

export interface ClientOptions extends GivenSettings {
  json?: boolean
}

/** A command that talks to a server. */
export function clientCommand(command: Command): Command {
  return withSettings(command, 'url', 'token', 'workspace', 'home').option('--json', 'print JSON')
}

/** Collects an option that may be given again, or holds several by comma. */
export function listed(text: string, before: string[] = []): string[] {
  return [
    ...before,
    ...text
      .split(',')
      .map((one) => one.trim())
      .filter((one) => one !== ''),
  ]
}

export function packageVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}
