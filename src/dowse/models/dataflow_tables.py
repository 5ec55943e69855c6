"""What the data flow of a language looks like, as data: which nodes are variables, assignments, branches, loops.

`dowse.models.dataflow` reads these tables and never asks which language it looks at. Node types and fields are those of
the language's tree-sitter grammar; the six languages are those of CodeSearchNet, on which GraphCodeBERT was trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from dowse.languages.language import Step, kinds

_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False, slots=True)
class FlowTable:
    """The data flow of one language."""

    variables: frozenset[str]
    """Nodes that are an occurrence of a variable."""
    literals: frozenset[str]
    """Nodes that are a value by themselves, unless variables are interpolated."""
    assignments: Mapping[str, tuple[Step, Step]]
    """Nodes that give a value to something: the steps to the target and to the source, None where it is the target
    itself (`i++`). Read in parameters and patterns too, where they state a default."""
    paired: frozenset[str] = _NONE
    """Assignments that give the first source to the first target, the second to the second."""
    lists: frozenset[str] = _NONE
    """Sources and targets that are taken apart for that."""
    parts: frozenset[str] = _NONE
    """Targets that are a part of a variable: `a.b` and `a[i]` change `a`."""
    ignored: frozenset[str] = _NONE
    """Nodes without data flow, and as "node.field" (or "node.") the children whose identifier names something else."""
    bound: frozenset[str] = _NONE
    """As "node.field" what receives a value from outside, such as the exception of a handler."""

    functions: frozenset[str] = _NONE
    """Definitions and closures: their parameters are theirs alone, and their body runs any number of times."""
    branches: frozenset[str] = _NONE
    """Nodes with a condition and what follows if it holds, or else."""
    clauses: frozenset[str] = _NONE
    """Nodes whose children belong to the branch or loop around them."""
    loops: frozenset[str] = _NONE
    """Nodes whose body runs any number of times."""
    switches: frozenset[str] = _NONE
    """Nodes of which one case runs."""
    switch_bodies: frozenset[str] = _NONE
    """Nodes between a switch and its cases."""
    cases: Mapping[str, bool] = field(default_factory=dict)
    """The cases, and whether they run on into the next one unless they break."""
    attempts: frozenset[str] = _NONE
    """Nodes that may be left by an error at any point, and hold its handlers."""
    handlers: frozenset[str] = _NONE
    finals: frozenset[str] = _NONE
    """What runs after an attempt in any case."""
    returns: frozenset[str] = _NONE
    throws: frozenset[str] = _NONE
    jumps: frozenset[str] = _NONE
    """Nodes that leave the nearest loop or switch, or begin it anew."""
    jumps_leave_switches: bool = True
    """Whether they leave a switch, rather than the loop around it."""


_FIELDS = ("left", "right")
_NAMED = ("name", "value")

PYTHON = FlowTable(
    variables=kinds("identifier"),
    literals=kinds("integer float string concatenated_string true false none"),
    assignments={
        **dict.fromkeys(kinds("assignment augmented_assignment for_statement for_in_clause"), _FIELDS),
        **dict.fromkeys(kinds("named_expression default_parameter typed_default_parameter"), _NAMED),
        "as_pattern": ("alias", 0),
    },
    paired=kinds("assignment"),
    lists=kinds("pattern_list tuple_pattern list_pattern expression_list tuple list"),
    parts=kinds("attribute subscript"),
    ignored=kinds(
        "comment type import_statement import_from_statement future_import_statement global_statement "
        "nonlocal_statement call.function attribute.attribute keyword_argument.name function_definition.name "
        "class_definition.name"
    ),
    functions=kinds("function_definition lambda"),
    branches=kinds("if_statement"),
    clauses=kinds("elif_clause"),
    loops=kinds(
        "for_statement while_statement list_comprehension set_comprehension dictionary_comprehension "
        "generator_expression"
    ),
    switches=kinds("match_statement"),
    switch_bodies=kinds("block"),
    cases={"case_clause": False},
    attempts=kinds("try_statement"),
    handlers=kinds("except_clause"),
    finals=kinds("finally_clause"),
    returns=kinds("return_statement"),
    throws=kinds("raise_statement"),
    jumps=kinds("break_statement continue_statement"),
    jumps_leave_switches=False,
)

JAVA = FlowTable(
    variables=kinds("identifier this"),
    literals=kinds(
        "decimal_integer_literal hex_integer_literal octal_integer_literal binary_integer_literal "
        "decimal_floating_point_literal hex_floating_point_literal string_literal character_literal true false "
        "null_literal"
    ),
    assignments={
        "assignment_expression": _FIELDS,
        **dict.fromkeys(kinds("variable_declarator enhanced_for_statement resource"), _NAMED),
        "instanceof_expression": ("name", "left"),
        "update_expression": (0, None),
    },
    parts=kinds("field_access array_access"),
    ignored=kinds(
        "line_comment block_comment modifiers annotation marker_annotation package_declaration import_declaration "
        "method_invocation.name field_access.field method_reference method_declaration.name class_declaration.name "
        "constructor_declaration.name interface_declaration.name enum_declaration.name labeled_statement. "
        "break_statement. continue_statement."
    ),
    bound=kinds("catch_formal_parameter.name"),
    functions=kinds("method_declaration constructor_declaration lambda_expression"),
    branches=kinds("if_statement ternary_expression"),
    loops=kinds("for_statement enhanced_for_statement while_statement do_statement"),
    switches=kinds("switch_expression"),
    switch_bodies=kinds("switch_block"),
    cases={"switch_block_statement_group": True, "switch_rule": False},
    attempts=kinds("try_statement try_with_resources_statement"),
    handlers=kinds("catch_clause"),
    finals=kinds("finally_clause"),
    returns=kinds("return_statement"),
    throws=kinds("throw_statement"),
    jumps=kinds("break_statement continue_statement"),
)

JAVASCRIPT = FlowTable(
    variables=kinds("identifier this shorthand_property_identifier shorthand_property_identifier_pattern"),
    literals=kinds("number string template_string regex true false null undefined"),
    assignments={
        **dict.fromkeys(
            kinds(
                "assignment_expression augmented_assignment_expression assignment_pattern object_assignment_pattern "
                "for_in_statement"
            ),
            _FIELDS,
        ),
        "variable_declarator": _NAMED,
        "update_expression": ("argument", None),
    },
    paired=kinds("assignment_expression variable_declarator"),
    lists=kinds("array_pattern array"),
    parts=kinds("member_expression subscript_expression"),
    ignored=kinds(
        "comment import_statement call_expression.function function_declaration.name "
        "generator_function_declaration.name function_expression.name class_declaration.name class.name"
    ),
    bound=kinds("catch_clause.parameter"),
    functions=kinds(
        "function_declaration generator_function_declaration function_expression generator_function arrow_function "
        "method_definition"
    ),
    branches=kinds("if_statement ternary_expression"),
    loops=kinds("for_statement for_in_statement while_statement do_statement"),
    switches=kinds("switch_statement"),
    switch_bodies=kinds("switch_body"),
    cases={"switch_case": True, "switch_default": True},
    attempts=kinds("try_statement"),
    handlers=kinds("catch_clause"),
    finals=kinds("finally_clause"),
    returns=kinds("return_statement"),
    throws=kinds("throw_statement"),
    jumps=kinds("break_statement continue_statement"),
)

PHP = FlowTable(
    variables=kinds("variable_name"),
    literals=kinds("integer float string encapsed_string heredoc nowdoc boolean null"),
    assignments={
        **dict.fromkeys(
            kinds("assignment_expression augmented_assignment_expression reference_assignment_expression"), _FIELDS
        ),
        "static_variable_declaration": _NAMED,
        **dict.fromkeys(kinds("simple_parameter property_promotion_parameter"), ("name", "default_value")),
        "foreach_statement": (1, 0),
        "update_expression": ("argument", None),
    },
    paired=kinds("assignment_expression"),
    lists=kinds("list_literal array_creation_expression"),
    parts=kinds("member_access_expression nullsafe_member_access_expression subscript_expression"),
    ignored=kinds("comment attribute_list"),
    bound=kinds("catch_clause.name"),
    functions=kinds("function_definition method_declaration anonymous_function arrow_function"),
    branches=kinds("if_statement conditional_expression"),
    clauses=kinds("else_if_clause"),
    loops=kinds("for_statement foreach_statement while_statement do_statement"),
    switches=kinds("switch_statement match_expression"),
    switch_bodies=kinds("switch_block match_block"),
    cases={
        "case_statement": True,
        "default_statement": True,
        "match_conditional_expression": False,
        "match_default_expression": False,
    },
    attempts=kinds("try_statement"),
    handlers=kinds("catch_clause"),
    finals=kinds("finally_clause"),
    returns=kinds("return_statement"),
    throws=kinds("throw_expression"),
    jumps=kinds("break_statement continue_statement"),
)

GO = FlowTable(
    variables=kinds("identifier"),
    literals=kinds(
        "int_literal float_literal imaginary_literal rune_literal interpreted_string_literal raw_string_literal true "
        "false nil iota"
    ),
    assignments={
        **dict.fromkeys(kinds("assignment_statement short_var_declaration range_clause receive_statement"), _FIELDS),
        **dict.fromkeys(kinds("var_spec const_spec"), _NAMED),
        "type_switch_statement": ("alias", "value"),
        **dict.fromkeys(kinds("inc_statement dec_statement"), (0, None)),
    },
    paired=kinds("assignment_statement short_var_declaration var_spec const_spec"),
    lists=kinds("expression_list"),
    parts=kinds("selector_expression index_expression slice_expression unary_expression parenthesized_expression"),
    ignored=kinds(
        "comment package_clause import_declaration type_parameter_list call_expression.function "
        "function_declaration.name keyed_element.key"
    ),
    functions=kinds("function_declaration method_declaration func_literal"),
    branches=kinds("if_statement"),
    clauses=kinds("for_clause"),
    loops=kinds("for_statement"),
    switches=kinds("expression_switch_statement type_switch_statement select_statement"),
    cases=dict.fromkeys(kinds("expression_case type_case communication_case default_case"), False),
    returns=kinds("return_statement"),
    jumps=kinds("break_statement continue_statement goto_statement"),
)

RUBY = FlowTable(
    variables=kinds("identifier instance_variable class_variable global_variable self"),
    literals=kinds("integer float rational complex string simple_symbol delimited_symbol regex true false nil"),
    assignments={
        **dict.fromkeys(kinds("assignment operator_assignment"), _FIELDS),
        **dict.fromkeys(kinds("optional_parameter keyword_parameter"), _NAMED),
        "for": ("pattern", "value"),
    },
    paired=kinds("assignment"),
    lists=kinds("left_assignment_list right_assignment_list array"),
    parts=kinds("call element_reference"),
    ignored=kinds("comment call.method method.name singleton_method.name alias undef"),
    bound=kinds("rescue.variable"),
    functions=kinds("method singleton_method lambda block do_block"),
    branches=kinds("if unless elsif if_modifier unless_modifier conditional"),
    loops=kinds("while until for while_modifier until_modifier"),
    switches=kinds("case case_match"),
    cases=dict.fromkeys(kinds("when in_clause else"), False),
    attempts=kinds("begin body_statement"),
    handlers=kinds("rescue"),
    finals=kinds("ensure"),
    returns=kinds("return"),
    jumps=kinds("break next redo retry"),
    jumps_leave_switches=False,
)

FLOW_TABLES: Mapping[str, FlowTable] = MappingProxyType(
    {"python": PYTHON, "java": JAVA, "javascript": JAVASCRIPT, "php": PHP, "go": GO, "ruby": RUBY}
)
"""The tables by the name of the language in `dowse.languages`."""
