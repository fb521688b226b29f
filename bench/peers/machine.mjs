// The machine a result was measured on, as far as it explains the numbers.
import { closeSync, fdatasyncSync, openSync, readFileSync, rmSync, statfsSync, writeSync } from 'node:fs'
import { availableParallelism, cpus, loadavg, release, totalmem, type } from 'node:os'
import { join } from 'node:path'

const filesystems = {
  0xef53: 'ext4',
  0x58465342: 'xfs',
  0x9123683e: 'btrfs',
  0x01021994: 'tmpfs',
  0x794c7630: 'overlay',
  0x2fc12fc1: 'zfs',
}

export function describeMachine({ dir }) {
  return {
    cpu: cpus()[0]?.model.trim() || 'unknown',
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    os: `${distribution()}${type()} ${release()}`,
    filesystem: filesystems[statfsSync(dir).type] ?? `0x${statfsSync(dir).type.toString(16)}`,
    fdatasyncPerSecond: fdatasyncRate(dir),
    loadBefore: Number(loadavg()[0].toFixed(2)),
  }
}

export function machineSentence(machine) {
  return (
    `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB; ${machine.os}; ${machine.filesystem}, ` +
    `${machine.fdatasyncPerSecond} fdatasync/s of 8 kB; load ${machine.loadBefore} before the run`
  )
}

function distribution() {
  try {
    const name = /^PRETTY_NAME="?([^"\n]+)/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1]
    return name ? `${name}, ` : ''
  } catch {
    return ''
  }
}

// What bounds a commit: one client writing and flushing 8 kB again and again for a second.
function fdatasyncRate(dir) {
  const path = join(dir, 'fdatasync')
  const file = openSync(path, 'w')
  try {
    const block = Buffer.alloc(8192, 1)
    for (let offset = 0; offset < 256; offset++) writeSync(file, block, 0, block.length, offset * block.length)
    fdatasyncSync(file)
    let count = 0
    const until = Date.now() + 1000
    while (Date.now() < until) {
      writeSync(file, block, 0, block.length, (count % 256) * block.length)
      fdatasyncSync(file)
      count++
    }
    return count
  } finally {
    closeSync(file)
    rmSync(path, { force: true })
  }
}
