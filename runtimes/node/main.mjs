// The Node runtime as a process: the loop over two private descriptors. Started with frames from the engine on descriptor 3
// and frames to it on descriptor 4 (the launcher moved them there from stdin and stdout), which Node marks close-on-exec,
// so that no print and no child process of user code can reach them.
import { openSync, writeSync } from 'node:fs'
import { createLoop } from './loop.mjs'
import { createMsgpackCodec } from './msgpack.mjs'
import { openPipe } from './pipe.mjs'
import { takeSettings } from './settings.mjs'

const environment = { ...process.env }
const settings = takeSettings(environment)
const exit = process.exit.bind(process)

const cell = openSync(settings.cell, 'r+')
const words = new Uint32Array(4)
function begin(id, oldest) {
  words[0] = id
  words[1] = id / 4294967296
  words[2] = oldest
  words[3] = oldest / 4294967296
  writeSync(cell, words, 0, 16, 0)
}

const pipe = openPipe({
  readFd: 3,
  writeFd: 4,
  codec: createMsgpackCodec(),
  onMessages: (messages) => loop.receive(messages),
  onEnd: () => exit(0),
})
const loop = createLoop({ settings, send: pipe.send, begin, stop: () => exit(0) })
if (await loop.load(environment, 'node')) pipe.listen()
else exit(1)
