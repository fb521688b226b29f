import { javascript } from './javascript.ts'
import { runtimeContract } from './runtime.ts'

runtimeContract({
  runtime: 'node-thread',
  program: javascript,
  broken: { program: 'import "not-there"\nexport function main() {}', error: /not-there/ },
  can: { anyText: true, die: false, memory: true, unprintable: 'cyclic', kill: false, overlap: true },
})
