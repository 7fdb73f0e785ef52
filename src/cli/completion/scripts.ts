/** The completion script of each shell. They all ask `cairn __complete`, which knows the program as it is: a line is
 *  `word<TAB>what it says`, or `:files`, `:directories` where the shell knows better. */

type Shell = 'bash' | 'zsh' | 'fish';

const BASH = String.raw`# bash completion for cairn
_cairn() {
  local line=${'$'}{COMP_LINE:0:COMP_POINT} words cur prefix
  read -ra words <<<"$line"
  [[ $line == *[[:space:]] ]] && words+=('')
  cur=${'$'}{words[-1]}
  mapfile -t COMPREPLY < <("${'$'}{words[0]/#\~/$HOME}" __complete "${'$'}{words[@]:1}" 2>/dev/null)
  case ${'$'}{COMPREPLY[0]-} in
    :files) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
    :directories) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return ;;
  esac
  COMPREPLY=("${'$'}{COMPREPLY[@]%%$'\t'*}")
  [[ ${'$'}{#COMPREPLY[@]} == 1 && ${'$'}{COMPREPLY[0]} == *@ ]] && compopt -o nospace
  # readline sees only what follows the last of its word breaks, and @ is one of them.
  prefix=${'$'}{cur%"${'$'}{cur##*[@:=]}"}
  COMPREPLY=("${'$'}{COMPREPLY[@]#"$prefix"}")
}
complete -F _cairn cairn
`;

const ZSH = String.raw`#compdef cairn
_cairn() {
  local -a reply plain
  local entry
  reply=("${'$'}{(@f)$("${'$'}{(Q)words[1]}" __complete "${'$'}{(@Q)words[2,CURRENT]}" 2>/dev/null)}")
  case ${'$'}{reply[1]} in
    :files) _files; return ;;
    :directories) _files -/; return ;;
  esac
  for entry in $reply; do
    [[ -n $entry ]] && plain+=("${'$'}{${'$'}{entry%%$'\t'*}//:/\\:}:${'$'}{entry#*$'\t'}")
  done
  if [[ ${'$'}{reply[1]%%$'\t'*} == *@ ]]; then
    _describe -V cairn plain -S ''
  else
    _describe -V cairn plain
  fi
}
if [[ $funcstack[1] == _cairn ]]; then _cairn "$@"; else compdef _cairn cairn; fi
`;

const FISH = String.raw`# fish completion for cairn
function __cairn_complete
    set -l words (commandline -opc)
    set -l cur (commandline -ct)
    set -l reply ($words[1] __complete $words[2..] $cur 2>/dev/null)
    switch "$reply[1]"
        case :files
            __fish_complete_path $cur
        case :directories
            __fish_complete_directories $cur
        case '*'
            printf '%s\n' $reply
    end
end
complete -c cairn -f -k -a '(__cairn_complete)'
`;

const SCRIPTS: Readonly<Record<Shell, string>> = { bash: BASH, zsh: ZSH, fish: FISH };

export function completionScript(shell: Shell): string {
  return SCRIPTS[shell];
}
