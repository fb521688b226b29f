// `millrace top`: workers, flows and queue, live.
//   T1. A frame is one write, over the one before: nothing is cleared first, so nothing flickers.
//   T2. The terminal is given back as it was, however this ends. Where there is none, it prints once.
import { setTimeout as pause } from 'node:timers/promises'
import { styleText } from 'node:util'
import type { Client, Overview } from '../client/client.ts'
import { messageOf } from '../core/errors.ts'
import { connect } from './connect.ts'
import { print, printJson } from './output.ts'
import type { ClientOptions } from './program.ts'
import { linesOf, sortings, viewOf, type Screen, type View } from './top_view.ts'

const everyMs = 1_000
// Heartbeats come every 400 ms: a rate over so long is steady and still quick to follow.
const spanMs = 2_000
const columnsPreset = 100

export async function top(options: ClientOptions & { once?: boolean }): Promise<void> {
  const client = connect(options)
  if (options.once || options.json || !process.stdout.isTTY) return printOnce(client, options)
  await live(client)
}

async function printOnce(client: Client, options: ClientOptions): Promise<void> {
  const before = await client.overview()
  await pause(everyMs)
  const view = viewOf(before, await client.overview())
  if (options.json) return printJson(view)
  const columns = process.stdout.columns ?? Number(process.env['COLUMNS'] ?? columnsPreset)
  const screen: Screen = {
    columns,
    rows: Infinity,
    sorting: 'steps/s',
    style: styles(process.stdout.isTTY && process.stdout.hasColors()),
  }
  print(linesOf(view, { place: client.url, time: clockTime(), fault: null }, screen).join('\n'))
}

function clockTime(): string {
  return new Date().toTimeString().slice(0, 8)
}

const plain = (text: string): string => text

function styles(colours: boolean): Screen['style'] {
  if (!colours) return { title: plain, head: plain, faint: plain, bad: plain }
  return {
    title: (text) => styleText('bold', text),
    head: (text) => styleText('inverse', text),
    faint: (text) => styleText('dim', text),
    bad: (text) => styleText('red', text),
  }
}

const enter = '\x1b[?1049h\x1b[?25l\x1b[?7l' // another screen, no cursor, long lines are cut
const leave = '\x1b[?7h\x1b[?25h\x1b[?1049l'

async function live(client: Client): Promise<void> {
  const { stdin, stdout } = process
  const style = styles(stdout.hasColors())
  const stop = new AbortController()
  let past: { atMs: number; overview: Overview }[] = []
  let view: View | null = null
  let fault: string | null = null
  let sorting = 0

  function draw(): void {
    if (!view || stop.signal.aborted) return
    // The last column stays empty: erasing what is behind a full line would erase its last character.
    const screen: Screen = { columns: stdout.columns - 1, rows: stdout.rows - 1, sorting: sortings[sorting]!, style }
    const lines = linesOf(view, { place: client.url, time: clockTime(), fault }, screen).slice(0, stdout.rows - 1)
    const keys = style.faint(`q quits · s or ← → sort by ${sortings.join(', ')}`.slice(0, stdout.columns - 1))
    const body = lines.map((line) => `${line}\x1b[K\r\n`).join('')
    stdout.write(`\x1b[H${body}\x1b[J\x1b[${stdout.rows};1H${keys}\x1b[K`)
  }

  async function look(): Promise<void> {
    try {
      const overview = await client.overview()
      const atMs = performance.now()
      const first = past.findLast((one) => atMs - one.atMs >= spanMs) ?? past[0]
      view = viewOf(first?.overview ?? null, overview)
      past = [...past.filter((one) => atMs - one.atMs < spanMs + 2 * everyMs), { atMs, overview }]
      fault = null
    } catch (error) {
      if (!view) throw error // it never worked: say so, and why
      fault = `${messageOf(error)}; trying again (what is below is old)`
    }
  }

  function pressed(keys: string): void {
    if (keys === 'q' || keys === '\x03' || keys === '\x1b' || keys === '\x04') return stop.abort()
    if (keys === 's' || keys === '\x1b[C' || keys === '\t') sorting = (sorting + 1) % sortings.length
    else if (keys === '\x1b[D') sorting = (sorting + sortings.length - 1) % sortings.length
    else return
    draw()
  }

  await look()
  const end = (): void => stop.abort()
  stdout.write(enter)
  stdout.on('resize', draw)
  if (stdin.isTTY) {
    stdin.setRawMode(true)
    stdin.setEncoding('utf8').on('data', pressed)
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, end)
  try {
    for (;;) {
      draw()
      await pause(everyMs, undefined, { signal: stop.signal }).catch(() => {})
      if (stop.signal.aborted) return
      await look()
    }
  } finally {
    stdout.off('resize', draw)
    if (stdin.isTTY) stdin.setRawMode(false)
    stdin.pause()
    stdout.write(leave)
  }
}
