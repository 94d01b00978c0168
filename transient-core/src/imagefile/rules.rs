//! The third pass: rules over the whole file.

use std::collections::HashMap;
use std::path::Path;

use transient_guest::protocol::DiskLabel;

use super::layout::lay_out;
use super::{Base, Disk, Instruction, Keyword, Partition, PartitionFlag, Problem, Span};

/// An instruction at its place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Which instruction it is.
    pub keyword: Keyword,
    /// Its place, from the keyword on.
    pub span: Span,
    /// What it says; `None` where that has errors of its own.
    pub instruction: Option<Instruction>,
}

impl Statement {
    fn keyword_span(&self) -> Span {
        Span::new(self.span.start, self.span.end.min(self.span.start + self.keyword.name().len()))
    }

    fn problem(&self, message: impl Into<String>) -> Problem {
        Problem::new(self.keyword_span(), message)
    }

    fn base(&self) -> Option<&Base> {
        if let Some(Instruction::From(base)) = &self.instruction { Some(base) } else { None }
    }

    fn disk(&self) -> Option<&Disk> {
        if let Some(Instruction::Disk(disk)) = &self.instruction { Some(disk) } else { None }
    }

    fn partition(&self) -> Option<&Partition> {
        if let Some(Instruction::Partition(partition)) = &self.instruction { Some(partition) } else { None }
    }
}

/// Checks what no instruction shows by itself: the order, what must be there, and what must not be there twice.
pub fn check(statements: &[Statement]) -> Vec<Problem> {
    let Some(first) = statements.first() else {
        return vec![Problem::new(Span::new(0, 0), "there is no instruction").help(Keyword::From.usage())];
    };
    let mut problems = Vec::new();
    let from = statements.iter().find(|statement| statement.keyword == Keyword::From);
    match from {
        None => {
            problems.push(first.problem("the first instruction must be FROM").help(Keyword::From.usage()));
        }
        Some(from) => {
            if from != first {
                let help = "move it to the top of the file";
                problems.push(from.problem("FROM must come before all other instructions").help(help));
            }
            match from.base() {
                Some(Base::Scratch) => check_scratch(from, statements, &mut problems),
                Some(Base::Image(_)) => forbid_disk(statements, &mut problems),
                None => {}
            }
        }
    }
    let others = of(statements, Keyword::From).skip(1);
    problems.extend(others.map(|other| other.problem("there can be only one FROM")));
    problems
}

fn of(statements: &[Statement], keyword: Keyword) -> impl Iterator<Item = &Statement> {
    statements.iter().filter(move |statement| statement.keyword == keyword)
}

fn forbid_disk(statements: &[Statement], problems: &mut Vec<Problem>) {
    let wrong =
        statements.iter().filter(|statement| matches!(statement.keyword, Keyword::Disk | Keyword::Partition));
    problems.extend(wrong.map(|statement| {
        let message = format!("{} can only be used after FROM scratch", statement.keyword.name());
        statement.problem(message).help("an image that is built from another one keeps its disk")
    }));
}

fn check_scratch(from: &Statement, statements: &[Statement], problems: &mut Vec<Problem>) {
    check_order(statements, problems);
    let mut disks = of(statements, Keyword::Disk);
    let Some(disk) = disks.next() else {
        problems.push(Problem::new(from.span, "FROM scratch needs a DISK").help(Keyword::Disk.usage()));
        return;
    };
    problems.extend(disks.map(|other| other.problem("there can be only one DISK")));
    let partitions: Vec<&Statement> = of(statements, Keyword::Partition).collect();
    let Some(first) = partitions.first() else {
        problems.push(
            Problem::new(disk.span, "DISK needs at least one PARTITION").help(Keyword::Partition.usage()),
        );
        return;
    };
    check_partitions(&partitions, problems);
    if let Some(label) = disk.disk().map(|disk| disk.label) {
        check_table(label, &partitions, problems);
    }
    let parsed: Option<Vec<&Partition>> = partitions.iter().map(|statement| statement.partition()).collect();
    let Some(parsed) = parsed else { return };
    if !parsed.iter().any(|partition| partition.mount.as_deref() == Some(Path::new("/"))) {
        problems.push(Problem::new(first.span, "no PARTITION is mounted at `/`").help("add MOUNT / to one"));
    }
    // While other rules are broken, sizes say little.
    let Some(size) = disk.disk().filter(|_| problems.is_empty()) else { return };
    if let Err(misfit) = lay_out(size, &parsed) {
        let at = misfit.partition.and_then(|index| partitions.get(index)).unwrap_or(&disk);
        problems.push(Problem::new(at.span, misfit.message).help(misfit.help));
    }
}

/// FROM, DISK, every PARTITION, and then all else.
fn check_order(statements: &[Statement], problems: &mut Vec<Problem>) {
    let mut previous = None;
    for statement in statements {
        let message = match (statement.keyword, previous) {
            (Keyword::Disk, Some(Keyword::From | Keyword::Disk)) => None,
            (Keyword::Disk, _) => Some("DISK must come directly after FROM"),
            (Keyword::Partition, Some(Keyword::Disk | Keyword::Partition)) => None,
            (Keyword::Partition, _) => {
                Some("PARTITION must come directly after DISK, or after another PARTITION")
            }
            _ => None,
        };
        if let Some(message) = message {
            let help = "the order is FROM, DISK, every PARTITION, and then the other instructions";
            problems.push(statement.problem(message).help(help));
        }
        previous = Some(statement.keyword);
    }
}

fn check_partitions(partitions: &[&Statement], problems: &mut Vec<Problem>) {
    let mut numbers = HashMap::new();
    let mut mounts = HashMap::new();
    let last = partitions.len() - 1;
    for (index, (statement, partition)) in
        partitions.iter().filter_map(|statement| Some((statement, statement.partition()?))).enumerate()
    {
        if numbers.insert(partition.number, ()).is_some() {
            let message = format!("there is a partition {} already", partition.number);
            problems.push(
                Problem::new(statement.span, message).help("every PARTITION needs a number of its own"),
            );
        }
        if let Some(mount) = &partition.mount
            && let Some(other) = mounts.insert(mount, partition.number)
        {
            let message = format!("partition {other} is mounted at `{}` already", mount.display());
            problems.push(Problem::new(statement.span, message));
        }
        if partition.size.is_none() && index != last {
            let message = "only the last PARTITION can go without SIZE";
            problems
                .push(Problem::new(statement.span, message).help("without SIZE it takes all that is left"));
        }
    }
}

/// What the kind of partition table does not allow.
fn check_table(label: DiskLabel, partitions: &[&Statement], problems: &mut Vec<Problem>) {
    let (name, highest) = match label {
        DiskLabel::Gpt => ("a GPT", 128),
        DiskLabel::Mbr => ("an MBR", 4),
    };
    for (statement, partition) in
        partitions.iter().filter_map(|statement| Some((statement, statement.partition()?)))
    {
        if !(1..=highest).contains(&partition.number) {
            let message = format!("there is no partition {} in {name} table", partition.number);
            let help = format!("the numbers are 1 to {highest}");
            problems.push(Problem::new(statement.span, message).help(help));
        }
        if label == DiskLabel::Mbr && partition.flags.contains(&PartitionFlag::BiosGrub) {
            let help = "with MBR, GRUB needs no partition of its own; else use GPT";
            problems.push(Problem::new(statement.span, "the flag `bios_grub` needs a GPT table").help(help));
        }
    }
}
