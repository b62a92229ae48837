//! `--allow` and `--deny`, whose order counts across both.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::server::admission::Rule;
use crate::server::network;

const ALLOW: &str = "allow";
const DENY: &str = "deny";

/// The rules in the order of the command line. Written by hand: clap's derive keeps the
/// order only within one option.
#[derive(Clone, Debug, Default)]
pub(super) struct AddressRules(Vec<Rule>);

impl AddressRules {
    pub(super) fn into_rules(self) -> Vec<Rule> {
        self.0
    }
}

impl FromArgMatches for AddressRules {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut rules = Self::default();
        rules.update_from_arg_matches(matches)?;
        Ok(rules)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        let mut by_index = Vec::new();
        for option in [ALLOW, DENY] {
            let indices = matches.indices_of(option).into_iter().flatten();
            let rules = matches.get_many::<Rule>(option).into_iter().flatten();
            by_index.extend(indices.zip(rules));
        }
        by_index.sort_unstable_by_key(|&(index, _)| index);
        self.0 = by_index.into_iter().map(|(_, &rule)| rule).collect();
        Ok(())
    }
}

impl Args for AddressRules {
    fn augment_args(command: Command) -> Command {
        let option = |name| {
            Arg::new(name)
                .long(name)
                .value_name("CIDR")
                .action(ArgAction::Append)
        };
        let allow = option(ALLOW)
            .value_parser(|text: &str| network::parse(text).map(Rule::Allow))
            .help("Let in this address or network; can be repeated");
        let deny = option(DENY)
            .value_parser(|text: &str| network::parse(text).map(Rule::Deny))
            .help("Refuse this address or network; can be repeated");
        command.arg(allow).arg(deny)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

#[cfg(test)]
mod tests {
    use ipnet::IpNet;

    use super::*;

    fn rules(arguments: &[&str]) -> Result<Vec<Rule>, clap::Error> {
        let command = AddressRules::augment_args(Command::new("test").no_binary_name(true));
        let matches = command.try_get_matches_from(arguments)?;
        Ok(AddressRules::from_arg_matches(&matches)?.into_rules())
    }

    fn network(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn rules_keep_the_order_of_the_command_line_across_both_options() {
        let given = [
            "--deny=10.0.0.1",
            "--allow",
            "10.0.0.0/8",
            "--deny",
            "::1",
            "--deny=192.168.1.5/24",
            "--allow=fe80::/10",
        ];
        let expected = [
            Rule::Deny(network("10.0.0.1/32")),
            Rule::Allow(network("10.0.0.0/8")),
            Rule::Deny(network("::1/128")),
            Rule::Deny(network("192.168.1.5/24")),
            Rule::Allow(network("fe80::/10")),
        ];
        assert_eq!(rules(&given).unwrap(), expected);
        assert_eq!(rules(&[]).unwrap(), []);
    }

    #[test]
    fn an_error_names_the_option_and_what_to_write_instead() {
        for option in [ALLOW, DENY] {
            let error = rules(&[&format!("--{option}"), "box.lan"]).unwrap_err();
            let said = error.to_string();
            assert!(said.contains("names are not looked up"), "{said}");
            assert!(said.contains(&format!("--{option}")), "{said}");
        }
    }
}
