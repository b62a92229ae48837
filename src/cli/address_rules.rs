//! `--allow` and `--deny`, whose order counts across both.

use std::net::IpAddr;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use ipnet::IpNet;

use crate::admission::{MAPPED_PREFIX_BITS, Rule};

const ALLOW: &str = "allow";
const DENY: &str = "deny";

/// The rules, in the order in which they stand on the command line. Written by hand,
/// because clap's derive keeps the order of one option alone.
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
        by_index.sort_by_key(|&(index, _)| index);
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
            .value_parser(|text: &str| parse_network(text).map(Rule::Allow))
            .help("Let in this address or network, such as 192.168.1.0/24; may be repeated");
        let deny = option(DENY)
            .value_parser(|text: &str| parse_network(text).map(Rule::Deny))
            .help("Keep out this address or network; may be repeated");
        command.arg(allow).arg(deny)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// A network as `ADDRESS/BITS`, or an address alone.
fn parse_network(text: &str) -> Result<IpNet, String> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return Err(
            "not an IP address such as 192.168.1.7, nor a network such as \
                    192.168.1.0/24; names are not looked up"
                .to_owned(),
        );
    };
    let Some(prefix) = prefix else {
        return Ok(address.into());
    };
    if let Ok(mask) = prefix.parse()
        && let Ok(bits) = ipnet::ip_mask_to_prefix(mask)
    {
        return Err(format!(
            "write the mask as a number of bits: {address}/{bits}"
        ));
    }
    let max_bits = IpNet::from(address).max_prefix_len();
    let Some(network) = prefix
        .parse()
        .ok()
        .and_then(|bits| IpNet::new(address, bits).ok())
    else {
        return Err(format!(
            "what follows the / is a number from 0 to {max_bits}"
        ));
    };
    // As IPv6, this would be a network of next to nobody; IPv4 is what is meant.
    if let IpAddr::V4(v4) = address.to_canonical()
        && address.is_ipv6()
        && network.prefix_len() < MAPPED_PREFIX_BITS
    {
        return Err(format!(
            "for an IPv4 address that is written as IPv6 it would be at least \
             /{MAPPED_PREFIX_BITS}; write {v4}/ and 0 to 32 bits"
        ));
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
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
    fn an_error_says_what_to_write_instead() {
        let table = [
            ("", "such as 192.168.1.0/24"),
            ("box.lan", "names are not looked up"),
            ("192.168.1", "such as 192.168.1.0/24"),
            ("192.168.1.*", "such as 192.168.1.0/24"),
            ("192.168.1.300/24", "such as 192.168.1.0/24"),
            ("192.168.1.7:8081", "such as 192.168.1.0/24"),
            ("/24", "such as 192.168.1.0/24"),
            ("192.168.1.0/", "from 0 to 32"),
            ("192.168.1.0/33", "from 0 to 32"),
            ("192.168.1.0/-1", "from 0 to 32"),
            ("192.168.1.0/24/8", "from 0 to 32"),
            ("fe80::/129", "from 0 to 128"),
            ("192.168.1.0/255.255.255.0", "192.168.1.0/24"),
            ("192.168.1.0/255.0.255.0", "from 0 to 32"),
            ("::ffff:10.0.0.0/8", "10.0.0.0/ and 0 to 32"),
        ];
        for (given, remedy) in table {
            for option in [ALLOW, DENY] {
                let error = rules(&[&format!("--{option}"), given]).unwrap_err();
                let said = error.to_string();
                assert!(said.contains(remedy), "{said}");
                assert!(said.contains(&format!("--{option}")), "{said}");
            }
        }
    }

    #[test]
    fn networks_are_taken_as_people_write_them() {
        for (given, meant) in [
            ("10.0.0.7", "10.0.0.7/32"),
            ("::1", "::1/128"),
            ("::ffff:10.0.0.0/104", "::ffff:10.0.0.0/104"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(parse_network(given), Ok(network(meant)));
        }
    }
}
