// Every setting: its variable, its flag, what holds without it. One table makes --help, `millrace settings` and the docs.
//   S1. A flag goes before its variable, the variable before the preset. Nothing else reads process.env for settings.
import { Option, type Command } from 'commander'
import { EngineError } from '../core/errors.ts'
import { defaultLimits, limitSettings, type Limits } from '../core/limits.ts'

export interface Setting {
  env: string
  /** As commander wants it; its value is the command's option of that name. Absent: only the variable. */
  flag?: string
  preset: string
  text: string
}

export const settings = {
  home: {
    env: 'MILLRACE_HOME',
    flag: '--home <folder>',
    preset: '.millrace',
    text: 'State folder: the embedded Postgres, the admin token, caches of packages.',
  },
  database: {
    env: 'DATABASE_URL',
    flag: '--database <url>',
    preset: 'an embedded one in the state folder',
    text: 'Postgres 14 or newer, as postgres://user:password@host:port/name; several hosts by comma, the primary is found.',
  },
  host: {
    env: 'MILLRACE_HOST',
    flag: '--host <address>',
    preset: '127.0.0.1',
    text: 'Address the server listens on; 0.0.0.0 for every one.',
  },
  port: {
    env: 'MILLRACE_PORT',
    flag: '--port <number>',
    preset: '8000, or the next free one',
    text: 'Port the server listens on. A port asked for is used or refused, never changed.',
  },
  adminToken: {
    env: 'MILLRACE_ADMIN_TOKEN',
    preset: 'made at the first start, kept in <home>/admin-token',
    text: 'The first super-admin token. Stored hashed.',
  },
  url: {
    env: 'MILLRACE_URL',
    flag: '--url <url>',
    preset: 'the server running in this state folder',
    text: 'The server that client commands talk to, and that code in steps is told about.',
  },
  token: {
    env: 'MILLRACE_TOKEN',
    flag: '--token <token>',
    preset: 'the token in <home>/admin-token',
    text: 'Token of client commands.',
  },
  workspace: {
    env: 'MILLRACE_WORKSPACE',
    flag: '-w, --workspace <name>',
    preset: 'main',
    text: 'Workspace of client commands.',
  },
  metricsPort: {
    env: 'MILLRACE_METRICS_PORT',
    flag: '--metrics-port <number>',
    preset: 'none',
    text: 'Port on which a worker serves /metrics, /healthz and /readyz; 9464+ for that one or the next free one (which `up` does for its workers).',
  },
  metricsHost: {
    env: 'MILLRACE_METRICS_HOST',
    flag: '--metrics-host <address>',
    preset: '127.0.0.1',
    text: 'Address of that port.',
  },
  logLevel: {
    env: 'MILLRACE_LOG_LEVEL',
    flag: '--log-level <level>',
    preset: 'info',
    text: 'debug, info, warn, error or silent.',
  },
  debug: {
    env: 'MILLRACE_DEBUG',
    preset: '',
    text: 'Set to 1, errors of the command line come with their stack.',
  },
  failpoints: {
    env: 'MILLRACE_FAILPOINTS',
    preset: '',
    text: 'For tests only: where this process is killed, stands still or loses a reply (failpoints.md).',
  },
  failpointsRecord: {
    env: 'MILLRACE_FAILPOINTS_RECORD',
    preset: '',
    text: 'For tests only: a file that gets a line for every failpoint reached.',
  },
} as const satisfies Record<string, Setting>

export type SettingName = keyof typeof settings

const limitTexts = {
  MILLRACE_BODY_BYTES_MAX: 'Bytes of one HTTP body. More is answered 413.',
  MILLRACE_RESULT_BYTES_MAX: "Bytes of one step's result or one job's arguments. More fails the step.",
  MILLRACE_QUEUE_JOBS_MAX: 'Active jobs of one tag. Beyond it, new ones are answered 429 with Retry-After.',
  MILLRACE_BATCH_JOBS_MAX: 'Jobs in one run_batch request.',
  MILLRACE_WORKER_JOBS_MAX: 'Jobs one worker holds at a time (`--concurrency`).',
  MILLRACE_COMMITS_IN_FLIGHT_MAX: 'Commits one worker has under way at a time.',
  MILLRACE_JOURNAL_AFTER_MS: 'A job unfinished for so many ms has its records journaled (pipelined mode).',
  MILLRACE_LEASE_MS:
    'A worker not heard of for so many ms is declared dead and its jobs are given back (a killed one: within about a second).',
  MILLRACE_DATABASE_ANSWER_MS: 'A database connection without an answer for so many ms is dead: it is cut and made again.',
  MILLRACE_POLL_MS: 'Ms after which a worker looks for jobs by itself, should a notification be lost.',
  MILLRACE_LOST_MAX: 'A job whose worker died more often than this fails as poison.',
  MILLRACE_STEP_TIMEOUT_MS: 'Time-out in ms of a step that names none, and the longest it may name.',
  MILLRACE_RUNNER_MEMORY_MIB: 'Memory of one runner, in MiB.',
  MILLRACE_LOG_BYTES_MAX: 'Bytes of log kept per step. The rest is cut, and the log says so.',
  MILLRACE_SHARED_RUNNERS_MAX: 'Warm runners of a shared worker; the least recently used goes first.',
  MILLRACE_WAIT_RESULT_MS: 'Ms that run_wait_result waits.',
  MILLRACE_RETENTION_DAYS: 'Days that finished jobs and their logs are kept.',
} as const satisfies Record<keyof typeof limitSettings, string>

/** All rows, for `millrace settings` and the table of docs/operations.md. */
export function settingRows(): (Setting & { flag: string })[] {
  const limits = Object.entries(limitSettings).map(([env, name]) => ({
    env,
    flag: '',
    preset: name.includes('Bytes')
      ? `${defaultLimits[name]} (${defaultLimits[name] / 2 ** 20} MiB)`
      : String(defaultLimits[name]),
    text: limitTexts[env as keyof typeof limitTexts],
  }))
  return [...Object.values(settings).map((setting: Setting) => ({ ...setting, flag: setting.flag ?? '' })), ...limits]
}

/** The same as a Markdown table. */
export function settingsMarkdown(): string {
  const cell = (text: string) => text.replaceAll('|', '\\|')
  const code = (text: string) => (text === '' ? '' : `\`${text}\``)
  const rows = settingRows().map((row) => `| ${code(row.env)} | ${code(row.flag)} | ${cell(row.preset)} | ${cell(row.text)} |`)
  return ['| variable | flag | without it | what it sets |', '|---|---|---|---|', ...rows].join('\n')
}

/** Gives a command the flags of these settings. Presets that are words, not values, only show in the help. */
export function withSettings(command: Command, ...names: SettingName[]): Command {
  for (const name of names) {
    const setting: Setting = settings[name]
    if (setting.flag === undefined) throw new Error(`setting ${name} has no flag`)
    const preset = setting.preset === '' ? '' : ` (${setting.env}, or ${setting.preset})`
    command.addOption(new Option(setting.flag, `${setting.text}${preset === '' ? ` (${setting.env})` : preset}`))
  }
  return command
}

/** A setting's value: the flag's, else the variable's, else `preset`. An empty variable is one not set. */
export function settingOf<Preset extends string | undefined>(
  options: Partial<Record<SettingName, string>>,
  name: SettingName,
  preset: Preset,
): string | Preset {
  return options[name] ?? (process.env[settings[name].env] || preset)
}

export function wholeNumber(text: string, at: string, range: { min: number; max: number }): number {
  const value = Number(text)
  if (/^\d+$/.test(text) && value >= range.min && value <= range.max) return value
  throw new EngineError('E_INVALID', `${at} is ${JSON.stringify(text)}; give a whole number from ${range.min} to ${range.max}`, {
    at,
  })
}

/** The limits, with what the environment sets of them. */
export function readLimits(env: NodeJS.ProcessEnv = process.env): Limits {
  const limits = { ...defaultLimits }
  for (const [variable, name] of Object.entries(limitSettings)) {
    const text = env[variable]
    if (text) limits[name] = wholeNumber(text, variable, { min: 1, max: Number.MAX_SAFE_INTEGER })
  }
  return limits
}
