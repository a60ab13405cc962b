"""The contracts of agents and loops as code: call these on a class of your own, in any framework.

    from gym_loop.testing import check_agent

    def test_my_agent_keeps_the_contract():
        check_agent(MyAgent, lr=0.1)

Each raises AssertionError, with one line that says what the contract asks and what the class did.
"""

from gym_loop.testing.agents import check_agent, check_vectorized_agent
from gym_loop.testing.loops import check_loop

__all__ = ["check_agent", "check_loop", "check_vectorized_agent"]
