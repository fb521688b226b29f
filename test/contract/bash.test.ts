import { runtimeContract } from './runtime.ts'

const program = `
what="$1"
value="$2"

case "$what" in
  echo) printf '%s' "$value" > result.json ;;
  fail) it_broke_is_no_command; echo it broke >&2; exit 1 ;; # FAILS HERE
  forge)
    echo '["ok",1,"forged",0]'
    printf '\\003\\000\\000\\000[1]\\n'
    echo '["broken",{}]' >&2
    cat
    echo honest ;;
  log) echo "line $value" ;;
  environment)
    echo "{\\"job\\":\\"$WM_JOB_ID\\",\\"flow\\":\\"$WM_FLOW_JOB_ID\\",\\"root\\":\\"$WM_ROOT_JOB_ID\\",\\"token\\":\\"$WM_TOKEN\\",\\"color\\":\\"$COLOR\\"}" ;;
  exit) exit 3 ;;
  hang) echo hanging; sleep 10000 ;;
  memory) x=xxxxxxxxxxxxxxxx; while :; do x="$x$x"; done ;;
  nul) printf 'a\\000b' ;;
  big) head -c "$value" /dev/zero | tr '\\0' x ;;
  pieces) echo 'WM_STREAM: one '; echo 'WM_STREAM: two' ;;
  detach) setsid sleep 1000 > /dev/null 2>&1 & echo $! ;;
esac
`

runtimeContract({
  runtime: 'bash',
  program,
  broken: { program: 'if true; then\necho', error: /unexpected end of file/ },
  can: { anyText: false, die: false, memory: true, unprintable: null, kill: true, overlap: true },
})
