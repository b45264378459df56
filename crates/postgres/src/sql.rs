//! The statements, and the types of their values.

use tokio_postgres::types::Type;

/// A statement that the store makes again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sql {
    Load,
    LoadSeveral,
    Create,
    Replace,
    Touch,
    End,
    IsAlive,
    List,
    NoteRevocation,
    EndSubject,
    LastRevocation,
    EndStartedBefore,
    Pages,
    Sweep,
    SweepRevocations,
}

const NUMBER: Type = Type::INT8;

impl Sql {
    /// All of them, each at its own number.
    pub(crate) const ALL: [Self; 15] = [
        Self::Load,
        Self::LoadSeveral,
        Self::Create,
        Self::Replace,
        Self::Touch,
        Self::End,
        Self::IsAlive,
        Self::List,
        Self::NoteRevocation,
        Self::EndSubject,
        Self::LastRevocation,
        Self::EndStartedBefore,
        Self::Pages,
        Self::Sweep,
        Self::SweepRevocations,
    ];

    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Load => include_str!("sql/load.sql"),
            Self::LoadSeveral => include_str!("sql/load_several.sql"),
            Self::Create => include_str!("sql/create.sql"),
            Self::Replace => include_str!("sql/replace.sql"),
            Self::Touch => include_str!("sql/touch.sql"),
            Self::End => include_str!("sql/end.sql"),
            Self::IsAlive => include_str!("sql/is_alive.sql"),
            Self::List => include_str!("sql/list.sql"),
            Self::NoteRevocation => include_str!("sql/note_revocation.sql"),
            Self::EndSubject => include_str!("sql/end_subject.sql"),
            Self::LastRevocation => include_str!("sql/last_revocation.sql"),
            Self::EndStartedBefore => include_str!("sql/end_started_before.sql"),
            Self::Pages => include_str!("sql/pages.sql"),
            Self::Sweep => include_str!("sql/sweep.sql"),
            Self::SweepRevocations => include_str!("sql/sweep_revocations.sql"),
        }
    }

    /// Said, and not asked for: a statement that isn't prepared is then one round trip too.
    pub(crate) fn types(self) -> &'static [Type] {
        match self {
            Self::Load | Self::IsAlive => const { &[Type::UUID, NUMBER] },
            Self::LoadSeveral => const { &[Type::UUID_ARRAY, NUMBER] },
            Self::Create => Self::Replace.types().first_chunk::<12>().map_or(&[], |columns| columns),
            Self::Replace => {
                const {
                    &[
                        Type::UUID,
                        NUMBER,
                        Type::TEXT,
                        NUMBER,
                        NUMBER,
                        NUMBER,
                        NUMBER,
                        NUMBER,
                        Type::TEXT,
                        NUMBER,
                        Type::BYTEA,
                        Type::JSON,
                        NUMBER,
                        NUMBER,
                    ]
                }
            }
            Self::Touch => const { &[Type::UUID, NUMBER, NUMBER] },
            Self::End => const { &[Type::UUID, NUMBER, NUMBER, NUMBER, Type::TEXT, NUMBER, NUMBER] },
            Self::List => const { &[Type::TEXT, Type::UUID, NUMBER, NUMBER] },
            Self::NoteRevocation => const { &[Type::TEXT, NUMBER, Type::UUID, Type::TEXT, NUMBER, NUMBER] },
            Self::EndSubject => {
                const { &[Type::TEXT, Type::UUID, Type::UUID, NUMBER, NUMBER, NUMBER, NUMBER, NUMBER, Type::TEXT] }
            }
            Self::LastRevocation => const { &[Type::TEXT, NUMBER] },
            Self::EndStartedBefore | Self::SweepRevocations => const { &[NUMBER] },
            Self::Pages => &[],
            Self::Sweep => const { &[Type::TID, Type::TID, NUMBER, NUMBER] },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_statement_is_at_its_number_and_has_a_type_for_each_value() {
        for (number, sql) in Sql::ALL.into_iter().enumerate() {
            assert_eq!(sql as usize, number);
            let has = |value: usize| sql.text().contains(&format!("${value}"));
            let values = sql.types().len();
            assert!((1..=values).all(has) && !has(values + 1), "{sql:?}");
        }
    }
}
