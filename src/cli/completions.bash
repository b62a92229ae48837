
# Bash ends a word at a colon, but addresses and times have some. So the words are those between
# blanks, and readline gets the part behind the last colon.
_chat_words() {
    local line=${COMP_LINE:0:COMP_POINT} IFS=$' \t\n' i
    read -ra COMP_WORDS <<<"$line"
    [[ $line == *[[:blank:]] ]] && COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    local word=${COMP_WORDS[COMP_CWORD]}
    _chat "$1" "$word" "${COMP_WORDS[COMP_CWORD - 1]}"
    case "$COMP_CWORD,${COMP_WORDS[1]},$word" in
        2,*,-*) ;;
        HOST_PLACES) _chat_hosts "$word" ;;
    esac
    local before=${word%"$2"}
    for i in "${!COMPREPLY[@]}"; do
        COMPREPLY[i]=${COMPREPLY[i]#"$before"}
    done
}

# The names of hosts that begin with $1, from /etc/hosts and from ssh.
_chat_hosts() {
    local names name IFS=$' \t\n'
    COMPREPLY=($(compgen -A hostname -- "$1"))
    [[ -r ~/.ssh/known_hosts ]] || return 0
    while read -r names _; do
        for name in ${names//,/ }; do
            name=${name#[}
            name=${name%%]*}
            if [[ $name =~ ^[[:alnum:]:._-]+$ && $name == "$1"* ]]; then
                COMPREPLY+=("$name")
            fi
        done
    done <~/.ssh/known_hosts
}

complete -F _chat_words chat
